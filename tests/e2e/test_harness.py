# SPDX-License-Identifier: MIT
"""The harness and the vectors, tested on themselves: no program is needed."""

import socket
import threading
import time

import pytest

import harness
import vector_runner
import vectors
import wire

# ---- vectors


def test_vectors_are_many_and_well_formed():
    found = vectors.load()
    assert len(found) >= 170
    numbers = [vector.number for vector in found]
    assert len(set(numbers)) == len(numbers) and all(number.isdigit() for number in numbers)
    assert len({(vector.side, vector.octets, vector.end, vector.set, vector.methods)
                for vector in found}) == len(found), "two vectors are the same"
    for vector in found:
        assert vector.program in ("hello", "report_origin"), vector.name
        assert vector.end in ("keep", "fin", "rst"), vector.name
        assert vector.rfc.split()[0].isdigit(), vector.name


@pytest.mark.parametrize("text, octets", [
    ("a b", b"a b"), ("a\nb\n", b"ab"), ("\\r\\n\\t\\0\\\\\\\"", b"\r\n\t\0\\\""),
    ("\\x00\\xff", b"\0\xff"), ('\\{repeat 3 "ab"}c', b"abababc"),
    ('\\{repeat 2 "\\r\\n\\x41"}', b"\r\nA\r\nA"), ('\\{repeat 2 "\\"}"}', b'"}"}'),
    ('\\{repeat 2 "a\\{repeat 2 \\"b\\"}"}', b"abbabb"), ('\\{repeat 1 "\\\\"}', b"\\"), ("", b"")])
def test_unescape(text, octets):
    assert vectors.unescape(text) == octets


@pytest.mark.parametrize("text", ["\\q", "\\", "\\x1", "\\xAG", "\\{repeat x \"a\"}",
                                  "\\{repeat 2 \"a\"", "\\{repeat 2 \"a", "\xe9", "\t"])
def test_unescape_refuses(text):
    with pytest.raises(vectors.VectorError):
        vectors.unescape(text)


@pytest.mark.parametrize("text", [
    "# a\nrfc: 1 2\nside: request\nexpect: 400\nGET", "rfc: 1 2\nside: request\nexpect: 400\n---\n",
    "# a\nrfc: 1 2\nside: both\nexpect: 400\n---\n", "# a\nrfc: 1 2\nside: request\n---\n",
    "# a\nrfc: 1 2\nside: request\nexpect: 400\nexpect: 401\n---\n",
    "# a\nrfc: 1 2\nside: request\nexpect: 400\ncolour: red\n---\n",
    "# a\nrfc: 1 2\nside: request\nexpect: 400\nand-close: maybe\n---\n",
    "# a\nrfc: 1 2\nside: request\nexpect: soon\n---\n"])
def test_vector_files_are_checked(text):
    with pytest.raises(vectors.VectorError):
        vectors.parse("000-x", text)


def vector(side="request", **keys):
    lines = "".join(f"{key.replace('_', '-')}: {value}\n" for key, value in keys.items())
    return vectors.parse("000-x", f"# x\nrfc: 1 2\nside: {side}\n{lines}---\nGET\n")


def answers(octets, ended=True, **kw):
    return wire.parse_answers(octets, ended, **kw)


OK = wire.build_response(200, body=b"hello")
REFUSED = wire.build_response(400, "Connection: close", body=b"")


@pytest.mark.parametrize("keys, octets, ended, is_good", [
    ({"expect": "400"}, REFUSED, "fin", True),
    ({"expect": "400|501"}, REFUSED, "fin", True),
    ({"expect": "400"}, OK, "fin", False),
    ({"expect": "400"}, REFUSED + OK, "fin", False),
    ({"expect": "400"}, REFUSED + b"x", "fin", False),
    ({"expect": "400"}, REFUSED[:-3], "fin", False),
    ({"expect": "400"}, b"", "fin", False),
    ({"expect": "400", "and_close": "yes"}, REFUSED, None, False),
    ({"expect": "400", "and_close": "yes"}, REFUSED, "rst", True),
    ({"expect": "200", "next": "200"}, OK + OK, None, True),
    ({"expect": "200", "next": "200"}, OK, None, False),
    ({"expect": "200", "next": "200"}, OK + OK + OK, None, False),
    ({"expect": "200 400"}, OK + REFUSED, None, True),
    ({"expect": "200", "body": "hello"}, OK, None, True),
    ({"expect": "200", "body": "other"}, OK, None, False),
    ({"expect": "200", "body_has": "ell"}, OK, None, True),
    ({"expect": "200", "interim": "none"}, b"HTTP/1.1 100 Go\r\n\r\n" + OK, None, False),
    ({"expect": "200"}, b"HTTP/1.1 100 Go\r\n\r\n" + OK, None, True),
    ({"expect": "400|abort"}, OK[:-1], "fin", True),
    ({"expect": "400|abort"}, OK, "fin", False),
    ({"expect": "close"}, b"", "fin", True),
    ({"expect": "close"}, b"", None, False),
    ({"expect": "close"}, REFUSED, "fin", True),
    ({"expect": "close"}, OK, "fin", False)])
def test_judge_request(keys, octets, ended, is_good):
    got = answers(octets, ended is not None) if octets else []
    faults = vector_runner.judge_request(vector(**keys), got, ended)
    assert (faults == []) == is_good, faults


ERROR = wire.build_response(502, "Content-Type: application/problem+json",
                            "Proxy-Status: weir; error=http_protocol_error", body=b"{}")


@pytest.mark.parametrize("keys, octets, is_good", [
    ({"expect": "status 200"}, OK, True), ({"expect": "status 201"}, OK, False),
    ({"expect": "status 200"}, OK[:-1], False), ({"expect": "502"}, ERROR, True),
    ({"expect": "502"}, wire.build_response(502, body=b""), False),
    ({"expect": "status 204|502"}, ERROR, True), ({"expect": "abort"}, OK, False),
    ({"expect": "abort"}, OK[:-1], True), ({"expect": "abort"}, ERROR, True),
    ({"expect": "status 200", "body": "hello"}, OK, True),
    ({"expect": "status 200", "body": "help"}, OK, False)])
def test_judge_response(keys, octets, is_good):
    faults = vector_runner.judge_response(vector("response", **keys), answers(octets)[0])
    assert (faults == []) == is_good, faults


# ---- the strict parser

CHUNKED = (b"HTTP/1.1 200 So\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n"
           b"1\r\n!\r\n0\r\nX-Sum: 1\r\n\r\n")


@pytest.mark.parametrize("octets", [OK, CHUNKED])
def test_parser_at_every_split(octets):
    for at in range(len(octets) + 1):
        parser = wire.ResponseParser()
        parser.feed(octets[:at])
        assert parser.finished == (at == len(octets))
        parser.feed(octets[at:] + b"more")
        assert parser.response.complete and bytes(parser.rest) == b"more"


def test_parser_keeps_trailers_and_interim():
    response = answers(b"HTTP/1.1 103 Hi\r\nLink: a\r\n\r\n" + CHUNKED)[0]
    assert response.trailers == [("X-Sum", "1")] and bytes(response.body) == b"hello!"
    assert response.interim[0].get("link") == "a"


@pytest.mark.parametrize("octets", [OK, CHUNKED])
@pytest.mark.parametrize("reset", [False, True])
def test_every_truncation_is_seen(octets, reset):
    for at in range(1, len(octets)):
        response = answers(octets[:at], reset=reset)[0]
        assert not response.complete and response.error


def test_close_delimited():
    octets = b"HTTP/1.0 200 So\r\n\r\nhello"
    assert answers(octets)[0].complete
    assert not answers(octets, reset=True)[0].complete


@pytest.mark.parametrize("octets", [
    b"HTTP/1.1 200 So\nContent-Length: 0\n\n\r\n\r\n", b"HTTP/1.1 600 So\r\n\r\n", b"garbage",
    b"HTTP/1.1 200 So\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na",
    b"HTTP/1.1 200 So\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"HTTP/1.0 200 So\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"HTTP/1.1 200 So\r\nX-A : b\r\n\r\n", b"HTTP/1.1 200 So\r\nX-A: b\r\n c\r\n\r\n",
    b"HTTP/1.1 200 So\r\nContent-Length: +1\r\n\r\na",
    b"HTTP/1.1 200 So\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n",
    b"HTTP/1.1 200 So\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloX\r\n0\r\n\r\n",
    b"HTTP/1.1 200 So\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n"])
def test_parser_refuses(octets):
    response = answers(octets)[0]
    assert not response.complete and response.error


def test_head_and_204_have_no_body():
    for octets, methods in ((b"HTTP/1.1 200 So\r\nContent-Length: 9\r\n\r\n", ("HEAD",)),
                            (b"HTTP/1.1 204 So\r\n\r\n", ("GET",)),
                            (b"HTTP/1.1 304 So\r\nContent-Length: 9\r\n\r\n", ("GET",))):
        got = answers(octets + OK, methods=methods)
        assert [one.complete for one in got] == [True, True]


# ---- scripted peers

def test_upstream_and_client_talk():
    script = harness.answering(lambda request: wire.build_response(
        200, body=request.method.encode() + request.body))
    with harness.Upstream(script) as upstream, harness.Client(upstream.port) as client:
        client.request("POST", "/a", body=b"1")
        assert bytes(client.read_response().body) == b"POST1"
        client.request("PUT", "/b", body=b"23", chunked=True, trailers=["X-A: b"])
        assert bytes(client.read_response().body) == b"PUT23"
        assert upstream.requests[1].trailers == [("X-A", "b")]
        client.send(wire.build_request("GET", "/c") * 3)
        assert [bytes(client.read_response().body) for _ in range(3)] == [b"GET"] * 3
        assert len(upstream.connections) == 1


def test_upstream_faults_fail_the_test():
    with pytest.raises(AssertionError, match="exactly one Host"):
        with harness.Upstream(harness.holding()) as upstream:
            with harness.Client(upstream.port) as client:
                client.send(b"GET / HTTP/1.1\r\n\r\n")
                harness.wait_until(lambda: upstream.faults, 2)


def test_answer_may_be_whole_before_it_is_asked_for():
    with harness.Upstream(harness.answering(OK)) as upstream:
        with harness.Client(upstream.port) as client:
            client.send(wire.build_request("GET", "/") * 3)
            time.sleep(0.1)
            assert client.read_head().status == 200
            client.read_more(lambda response: response.complete)
            assert [bytes(client.read_response().body) for _ in range(3)] == [b"hello"] * 3
            assert client.is_open() and not client.rest


@pytest.mark.parametrize("how", ["fin", "rst"])
def test_leaving_is_seen(how):
    with harness.Upstream(harness.holding()) as upstream:
        client = harness.Client(upstream.port)
        client.request("GET", "/")
        upstream.wait_request()
        client.reset() if how == "rst" else client.close()
        harness.wait_until(lambda: upstream.connections[0].gone, 2)
        assert upstream.connections[0].gone == how


@pytest.mark.parametrize("how, kept", [("close", "ended in length"), ("reset", "reset")])
def test_truncated_answer_is_broken(how, kept):
    def script(conn):
        conn.read_head()
        conn.send(OK[:-1])
        time.sleep(0.1)
        getattr(conn, how)()
    with harness.Upstream(script) as upstream, harness.Client(upstream.port) as client:
        client.request("GET", "/")
        response = client.read_response()
        assert response.broken and response.error == kept


def test_interim_is_read_first():
    def script(conn):
        conn.read_head()
        conn.send(b"HTTP/1.1 100 Go\r\n\r\n")
        conn.exactly(5)
        conn.send(OK)
    with harness.Upstream(script) as upstream, harness.Client(upstream.port) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n")
        assert client.read_interim().status == 100
        client.send(b"hello")
        response = client.read_response()
        assert response.complete and len(response.interim) == 1


def test_refused_port():
    with harness.RefusedPort() as refused, pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", refused.port), 2)


def test_silent_port_does_not_answer():
    with harness.SilentPort() as silent:
        with pytest.raises(socket.timeout):
            socket.create_connection(("127.0.0.1", silent.port), 0.3)
        assert silent.dialling() >= silent.base


def test_program_lines_and_signals(tmp_path):
    script = ("import signal, sys, time\n"
              "signal.signal(signal.SIGTERM, lambda *_: sys.exit({code}))\n"
              "print('listening on 127.0.0.1:7', flush=True)\n"
              "print('runtime error: x' if {bad} else '{{}}', file=sys.stderr, flush=True)\n"
              "while True: time.sleep(0.05)\n")
    with harness.Program("/usr/bin/python3", "-c", script.format(code=0, bad=0)) as program:
        assert program.port == 7 and program.rss() > 0 and program.fds() >= 3
        assert program.cpu_share(0.1) < 0.9
    for code, bad in ((3, 0), (0, 1)):
        with pytest.raises(AssertionError):
            with harness.Program("/usr/bin/python3", "-c", script.format(code=code, bad=bad)):
                time.sleep(0.1)
    with pytest.raises(AssertionError, match="before it listened"):
        harness.Program("/usr/bin/python3", "-c", "raise SystemExit(2)")


def test_log_reader(tmp_path):
    path = tmp_path / "a.log"
    log = harness.AccessLog(path)
    assert log.records() == []
    path.write_text('{"kind": "progress", "peer": "a:1"}\n{"kind": "end", "peer": "a:1", '
                    '"outcome": "complete", "phase_ms": {"total": 10}, "stall_ms": '
                    '{"down": {"moving": 4, "socket": 6.5}, "up": {"moving": 10}}}\n{"half')
    record = log.wait_end("a:1")
    assert len(log.records()) == 2 and record["outcome"] == "complete"
    assert harness.check_stalls(record) == {"down": (10.5, 10.0), "up": (10, 10.0)}
    record["stall_ms"]["down"]["socket"] = 8
    with pytest.raises(AssertionError):
        harness.check_stalls(record)


# ---- the vector runner against a server of two lines

def serve_like(answer):
    """A server that answers everything with the same octets and closes."""
    def script(conn):
        try:
            conn.sock.settimeout(0.3)
            while b"\r\n\r\n" not in conn._buffer:
                conn._fill()
        except (OSError, EOFError):
            pass
        conn.send(answer)
        conn.fin()
        conn.wait_gone(2)
    return script


@pytest.mark.parametrize("bytewise", [False, True])
def test_runner_sees_good_and_bad(bytewise):
    cases = [vectors.parse("001-a", "# a\nrfc: 1 2\nside: request\nexpect: 400\nand-close: yes\n"
                           "---\nGET / HTTP/1.1\\r\\n\\r\\n"),
             vectors.parse("002-b", "# b\nrfc: 1 2\nside: request\nexpect: 200\n---\n"
                           "GET / HTTP/1.1\\r\\n\\r\\n")]
    with harness.Upstream(serve_like(REFUSED)) as upstream:
        results = vector_runner.run_requests(cases, lambda _: upstream.port, bytewise)
    assert results["001-a"] == []
    assert results["002-b"]


def test_runner_of_responses_sees_a_blind_relay():
    """A relay that copies bytes passes good answers and fails bad ones."""
    def relay(conn):
        with socket.create_connection(("127.0.0.1", upstream.port)) as other:
            def back():
                try:
                    while piece := other.recv(65536):
                        conn.send(piece)
                    conn.fin()
                except OSError:
                    pass
            threading.Thread(target=back, daemon=True).start()
            while True:
                other.sendall(conn.some())

    cases = [case for case in vectors.load("response")
             if case.name[4:] in ("length", "status-000", "resp-extra-length", "resp-cl-te")]
    assert len(cases) == 4
    served = vector_runner.VectorUpstream(cases)
    with harness.Upstream(served.script) as upstream, harness.Upstream(relay) as gate:
        results = vector_runner.run_responses(cases, gate.port, served, False)
        gate.faults.clear()
    good = {name[4:]: not faults for name, faults in results.items()}
    assert good == {"length": True, "status-000": False, "resp-extra-length": False,
                    "resp-cl-te": False}
