# SPDX-License-Identifier: MIT
"""Reads the vectors of tests/vectors/h1: see README.md there for the format."""

import dataclasses
import pathlib
import re

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "vectors" / "h1"

KEYS = {"rfc", "side", "expect", "and-close", "next", "end", "program", "methods", "body",
        "body-has", "interim", "set", "reuse", "via"}
SIMPLE = {"r": b"\r", "n": b"\n", "t": b"\t", "0": b"\0", "\\": b"\\", '"': b'"'}
NEXT_REQUEST = b"GET / HTTP/1.1\r\nHost: next\r\n\r\n"


class VectorError(Exception):
    """A vector file that does not follow the format."""


def unescape(text):
    """The octets of escaped text. Literal newlines are layout only."""
    out, at = _unescape(text, 0, stop=None)
    assert at == len(text)
    return out


def _unescape(text, at, stop):
    out = bytearray()
    while at < len(text):
        char = text[at]
        if char == stop:
            return bytes(out), at
        if char == "\n":
            at += 1
        elif char != "\\":
            if not 0x20 <= ord(char) < 0x7F:
                raise VectorError(f"unescaped octet {char!r}")
            out += char.encode("ascii")
            at += 1
        elif text.startswith("\\{repeat ", at):
            octets, at = _repeat(text, at)
            out += octets
        elif text.startswith("\\x", at):
            if not re.fullmatch("[0-9a-f]{2}", text[at + 2:at + 4]):
                raise VectorError(f"bad hex escape {text[at:at + 4]!r}")
            out.append(int(text[at + 2:at + 4], 16))
            at += 4
        elif text[at + 1:at + 2] in SIMPLE:
            out += SIMPLE[text[at + 1]]
            at += 2
        else:
            raise VectorError(f"bad escape {text[at:at + 8]!r}")
    if stop is not None:
        raise VectorError("text in quotes does not end")
    return bytes(out), at


def _repeat(text, at):
    """One `\\{repeat N "text"}`. The text is escaped like all else, one level of quoting more."""
    found = re.compile(r'\\\{repeat ([1-9][0-9]*) "').match(text, at)
    if found is None:
        raise VectorError(f"bad repeat {text[at:at + 20]!r}")
    inner, at = _quoted(text, found.end())
    if not text.startswith("}", at):
        raise VectorError("a repeat does not end in }")
    return unescape(inner) * int(found.group(1)), at + 1


def _quoted(text, at):
    """The raw text up to the closing quote, with \\" inside undone; what follows the quote."""
    out = []
    while at < len(text):
        if text[at] == '"':
            return "".join(out), at + 1
        if text.startswith('\\"', at):
            out.append('"')
            at += 2
        elif text[at] == "\\":
            out.append(text[at:at + 2])
            at += 2
        else:
            out.append(text[at])
            at += 1
    raise VectorError("text in quotes does not end")


@dataclasses.dataclass(frozen=True)
class Vector:
    """One case. `expect` holds one tuple of allowed outcomes per expected answer."""

    name: str
    what: str
    rfc: str
    side: str
    expect: tuple
    octets: bytes
    and_close: bool = None
    next: int = None
    end: str = "keep"
    program: str = "hello"
    methods: tuple = ()
    body: bytes = None
    body_has: bytes = None
    interim: str = None
    set: tuple = ()
    reuse: bool = None
    via: str = None

    @property
    def number(self):
        return self.name[:3]

    def method(self, index):
        """The method of the index-th request, as far as it decides the framing of its answer."""
        if index < len(self.methods):
            return self.methods[index]
        return "HEAD" if index == 0 and self.octets.startswith(b"HEAD ") else "GET"

    def input(self):
        """What goes on the wire: for a request with `next`, a plain good request follows."""
        return self.octets + (NEXT_REQUEST if self.next is not None else b"")


def _expectation(side, text):
    """'200|400 200' -> ((200, 400), (200,)); the words are kept as words."""
    if side == "response":
        alternatives = []
        for word in text.replace("status ", "").split("|"):
            alternatives.append(word if word == "abort" else int(word))
        return (tuple(alternatives),)
    return tuple(tuple(word if word in ("close", "abort") else int(word)
                       for word in one.split("|")) for one in text.split())


def parse(name, text):
    """One vector from the text of its file."""
    head, separator, raw = text.partition("\n---\n")
    if not separator:
        raise VectorError(f"{name}: no --- line")
    what, keys = [], {}
    for line in head.split("\n"):
        if line.startswith("# "):
            what.append(line[2:])
            continue
        key, colon, value = line.partition(":")
        if not colon or key not in KEYS or key in keys:
            raise VectorError(f"{name}: bad or repeated header line {line!r}")
        keys[key] = value.strip()
    for key in ("rfc", "side", "expect"):
        if not keys.get(key):
            raise VectorError(f"{name}: {key} is missing")
    if not what or keys["side"] not in ("request", "response"):
        raise VectorError(f"{name}: says nothing, or a bad side")

    def truth(key):
        if key not in keys:
            return None
        if keys[key] not in ("yes", "no"):
            raise VectorError(f"{name}: {key} is yes or no")
        return keys[key] == "yes"

    try:
        return Vector(
            name=name, what=" ".join(what), rfc=keys["rfc"], side=keys["side"],
            expect=_expectation(keys["side"], keys["expect"]), octets=unescape(raw),
            and_close=truth("and-close"), next=int(keys["next"]) if "next" in keys else None,
            end=keys.get("end", "keep"), program=keys.get("program", "hello"),
            methods=tuple(keys.get("methods", "").split()),
            body=unescape(keys["body"]) if "body" in keys else None,
            body_has=unescape(keys["body-has"]) if "body-has" in keys else None,
            interim=keys.get("interim"), set=tuple(keys.get("set", "").split()),
            reuse=truth("reuse"), via=keys.get("via"))
    except (ValueError, VectorError) as error:
        raise VectorError(f"{name}: {error}") from error


def load(side=None):
    """Every vector of the folder in the order of its numbers."""
    found = [parse(path.stem, path.read_text(encoding="ascii"))
             for path in sorted(FOLDER.glob("*.vec"))]
    return [vector for vector in found if side in (None, vector.side)]
