# SPDX-License-Identifier: MIT
"""HTTP/1.1 as bytes: a strict response parser that tells a whole answer from a broken one, the
scripted peers' request reader, and builders. Strict on purpose: what a lenient client would
forgive is a fault of the program under test."""

import dataclasses
import re

TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
STATUS_LINE = re.compile(rb"(HTTP/1\.[01]) ([1-5][0-9][0-9]) ([\t\x20-\x7e\x80-\xff]*)\Z")
FIELD_LINE = re.compile(rb"(" + TOKEN + rb"):[ \t]*([^\0-\x08\x0a-\x1f\x7f]*?)[ \t]*\Z")
CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})(?:;[\t\x20-\x7e\x80-\xff]*)?\Z")
LENGTH = re.compile(rb"[0-9]{1,18}\Z")
MAX_HEAD = 256 * 1024


class WireError(Exception):
    """Octets that are not HTTP/1.1."""


def parse_fields(lines):
    """[(name, value)] as latin-1 text in the order of the wire."""
    fields = []
    for line in lines:
        found = FIELD_LINE.match(line)
        if found is None:
            raise WireError(f"bad field line {line[:80]!r}")
        fields.append((found.group(1).decode("latin-1"), found.group(2).decode("latin-1")))
    return fields


class Fields:
    """Mixin: look-ups in `self.fields`."""

    def all(self, name):
        return [value for key, value in self.fields if key.lower() == name.lower()]

    def get(self, name, default=None):
        values = self.all(name)
        return ", ".join(values) if values else default

    def items_of(self, name):
        """The lower-case elements of a list field."""
        return [item.strip().lower() for value in self.all(name) for item in value.split(",")
                if item.strip()]

    def names(self):
        return [key.lower() for key, _ in self.fields]


@dataclasses.dataclass
class Response(Fields):
    """An answer as far as it has come. `complete` only where its framing proved the end."""

    version: str = ""
    status: int = None
    reason: str = ""
    fields: list = dataclasses.field(default_factory=list)
    trailers: list = dataclasses.field(default_factory=list)
    interim: list = dataclasses.field(default_factory=list)
    body: bytearray = dataclasses.field(default_factory=bytearray)
    body_bytes: int = 0
    framing: str = None
    complete: bool = False
    error: str = None

    @property
    def broken(self):
        """The head came and the end did not."""
        return self.status is not None and not self.complete


class ResponseParser:
    """Pushed bytes in, one final answer out; what follows it stays in `rest`."""

    def __init__(self, method="GET", keep_body=True):
        self.method = method
        self.keep_body = keep_body
        self.response = Response()
        self.rest = bytearray()
        self.finished = False
        self._state = "head"
        self._left = 0

    def feed(self, octets):
        self.rest += octets
        try:
            while not self.finished and getattr(self, "_in_" + self._state)():
                pass
        except WireError as error:
            self.response.error = str(error)
            self.finished = True
        return self.finished

    def end(self, reset=False):
        """The connection has ended."""
        if self.finished:
            return
        self.finished = True
        if self._state == "close" and not reset:
            self.response.complete = True
        else:
            self.response.error = "reset" if reset else f"ended in {self._state}"

    def _line(self):
        at = self.rest.find(b"\n")
        if at < 0:
            if len(self.rest) > MAX_HEAD:
                raise WireError("a line that does not end")
            return None
        line = bytes(self.rest[:at + 1])
        del self.rest[:at + 1]
        if not line.endswith(b"\r\n") or b"\r" in line[:-2]:
            raise WireError(f"bare CR or LF in {line[:80]!r}")
        return line[:-2]

    def _in_head(self):
        at = self.rest.find(b"\r\n\r\n")
        if at < 0:
            if len(self.rest) > MAX_HEAD:
                raise WireError("a head that does not end")
            if self.rest and not b"HTTP/1.".startswith(bytes(self.rest[:7])):
                raise WireError(f"not a status line: {bytes(self.rest[:40])!r}")
            return False
        lines = bytes(self.rest[:at]).split(b"\r\n")
        del self.rest[:at + 4]
        found = STATUS_LINE.match(lines[0])
        if found is None:
            raise WireError(f"bad status line {lines[0][:80]!r}")
        fields = parse_fields(lines[1:])
        status = int(found.group(2))
        if 100 <= status < 200:
            head = Response(status=status, fields=fields)
            if head.all("content-length") or head.all("transfer-encoding"):
                raise WireError("an interim answer with a body")
            self.response.interim.append(head)
            return True
        self.response.version = found.group(1).decode()
        self.response.status = status
        self.response.reason = found.group(3).decode("latin-1")
        self.response.fields = fields
        self._frame()
        return True

    def _frame(self):
        response = self.response
        lengths, codings = response.all("content-length"), response.items_of("transfer-encoding")
        if len(lengths) > 1 or (lengths and codings):
            raise WireError("ambiguous framing")
        if lengths and not LENGTH.match(lengths[0].encode("latin-1")):
            raise WireError(f"bad length {lengths[0]!r}")
        if codings and (codings != ["chunked"] or response.version == "HTTP/1.0"):
            raise WireError(f"bad transfer coding {codings}")
        if self.method == "HEAD" or response.status in (204, 304):
            response.framing = "none"
            self._done()
        elif codings:
            response.framing, self._state = "chunked", "size"
        elif lengths:
            response.framing, self._left, self._state = "length", int(lengths[0]), "length"
        else:
            response.framing, self._state = "close", "close"

    def _done(self):
        self.response.complete = True
        self.finished = True

    def _take(self, size):
        piece = bytes(self.rest[:size])
        del self.rest[:size]
        self.response.body_bytes += len(piece)
        if self.keep_body:
            self.response.body += piece
        return len(piece)

    def _in_length(self):
        self._left -= self._take(self._left)
        if self._left == 0:
            self._done()
        return False

    def _in_close(self):
        self._take(len(self.rest))
        return False

    def _in_size(self):
        line = self._line()
        if line is None:
            return False
        found = CHUNK_LINE.match(line)
        if found is None:
            raise WireError(f"bad chunk line {line[:80]!r}")
        self._left = int(found.group(1), 16)
        self._state = "data" if self._left else "trailers"
        return True

    def _in_data(self):
        if not self.rest:
            return False
        self._left -= self._take(self._left)
        if self._left == 0:
            self._state = "gap"
        return True

    def _in_gap(self):
        if len(self.rest) < 2:
            return False
        if self.rest[:2] != b"\r\n":
            raise WireError(f"no line end after a chunk: {bytes(self.rest[:8])!r}")
        del self.rest[:2]
        self._state = "size"
        return True

    def _in_trailers(self):
        line = self._line()
        if line is None:
            return False
        if line == b"":
            self._done()
        else:
            self.response.trailers += parse_fields([line])
        return True


def parse_answers(octets, ended, methods=("GET",), reset=False):
    """Every answer in what one connection has sent, the last one perhaps not whole."""
    answers, rest = [], octets
    while rest or not answers:
        method = methods[len(answers)] if len(answers) < len(methods) else "GET"
        parser = ResponseParser(method)
        parser.feed(rest)
        if ended:
            parser.end(reset)
        answers.append(parser.response)
        rest = bytes(parser.rest)
        if not parser.response.complete:
            break
    return answers


@dataclasses.dataclass
class Request(Fields):
    """What a scripted upstream has read of a request."""

    method: str
    target: str
    version: str
    fields: list
    raw: bytes
    body: bytes = b""
    trailers: list = dataclasses.field(default_factory=list)
    chunks: int = 0

    @property
    def is_chunked(self):
        return "chunked" in self.items_of("transfer-encoding")

    @property
    def length(self):
        values = self.all("content-length")
        return int(values[0]) if values else None


def parse_request_head(raw):
    """Strict: what the gateway sends must be beyond doubt."""
    lines = raw.split(b"\r\n")
    found = re.match(rb"(" + TOKEN + rb") ([\x21-\x7e]+) (HTTP/1\.[01])\Z", lines[0])
    if found is None:
        raise WireError(f"bad request line {lines[0][:80]!r}")
    request = Request(found.group(1).decode(), found.group(2).decode(), found.group(3).decode(),
                      parse_fields(lines[1:]), raw)
    if len(request.all("host")) != 1:
        raise WireError("not exactly one Host")
    if len(request.all("content-length")) + len(request.all("transfer-encoding")) > 1:
        raise WireError("ambiguous framing towards the upstream")
    return request


def build_request(method, target, *fields, host="test", version="HTTP/1.1", body=None,
                  chunked=False, trailers=()):
    """A request as bytes; `body` sets the framing unless it is None."""
    lines = [f"{method} {target} {version}"]
    if host is not None:
        lines.append(f"Host: {host}")
    lines += fields
    if body is not None:
        lines.append("Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(body)}")
    head = "\r\n".join(lines + ["", ""]).encode("latin-1")
    if body is None:
        return head
    return head + (chunk(body) + last_chunk(*trailers) if chunked else body)


def build_response(status, *fields, body=None, chunked=False, reason="So", version="HTTP/1.1",
                   trailers=()):
    """An answer as bytes; no framing is added when `body` is None."""
    lines = [f"{version} {status} {reason}", *fields]
    if body is not None:
        lines.append("Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(body)}")
    head = "\r\n".join(lines + ["", ""]).encode("latin-1")
    if body is None:
        return head
    return head + (chunk(body) + last_chunk(*trailers) if chunked else body)


def chunk(octets):
    return b"%x\r\n%s\r\n" % (len(octets), octets) if octets else b""


def last_chunk(*trailers):
    return ("\r\n".join(["0", *trailers, "", ""])).encode("latin-1")
