# SPDX-License-Identifier: MIT
"""What goes through the gateway goes through unchanged, but for what belongs to one hop."""

import hashlib
import threading

import pytest

import harness
import wire

ADDED = {"via", "connection", "keep-alive", "date"}


@pytest.fixture(scope="module")
def rig_and_gate(module_rig):
    """An upstream that answers with whatever `answer` holds at the moment."""
    state = {"answer": b""}
    upstream = module_rig.upstream(harness.answering(lambda request: state["answer"]))
    return state, upstream, module_rig.gateway(upstream)


def through(rig_and_gate, answer, method="GET", target="/x", *fields, **kw):
    """(what the upstream has seen, what the client has got) for one exchange."""
    state, upstream, gate = rig_and_gate
    state["answer"] = answer
    before = len(upstream.requests)
    response = harness.fetch(gate.port, method, target, *fields, **kw)
    assert len(upstream.requests) == before + 1
    return upstream.requests[-1], response


def passed_on(fields, added=ADDED):
    return [(name.lower(), value) for name, value in fields if name.lower() not in added]


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize("status", [200, 201, 206, 299, 301, 400, 401, 403, 404, 409, 418, 429,
                                    500, 501, 502, 503, 504, 599])
def test_answers_are_unchanged(rig_and_gate, status, chunked):
    fields = ["Content-Type: text/x; a=b", "X-First: 1", "Set-Cookie: a=1", "x-odd-CASE:  v  ",
              "Set-Cookie: b=2", "X-Empty:", "WWW-Authenticate: Basic realm=\"up\"",
              "X-Octets: d\xe9j\xe0", "Retry-After: 3", "ETag: \"x\"", "Server: up/1"]
    body = b'{"from": "upstream %d"}' % status
    _, response = through(rig_and_gate, wire.build_response(
        status, *fields, body=body, chunked=chunked))
    assert response.complete, response.error
    assert response.status == status
    assert bytes(response.body) == body
    assert response.framing == ("chunked" if chunked else "length")
    wanted = passed_on(wire.parse_fields([field.encode("latin-1") for field in fields]))
    framing = {"content-length", "transfer-encoding"}
    assert passed_on(response.fields, ADDED | framing) == wanted


@pytest.mark.parametrize("status", [204, 304])
def test_bodiless_answers_are_unchanged(rig_and_gate, status):
    _, response = through(rig_and_gate, wire.build_response(status, "X-A: b", "ETag: \"x\""))
    assert (response.status, response.complete, response.framing) == (status, True, "none")
    assert passed_on(response.fields) == [("x-a", "b"), ("etag", "\"x\"")]


def test_304_keeps_its_length(rig_and_gate):
    _, response = through(rig_and_gate, b"HTTP/1.1 304 So\r\nContent-Length: 77\r\n\r\n")
    assert response.get("content-length") == "77"


def test_close_delimited_answers_arrive_whole(rig):
    body = b"x" * 100_000

    def script(conn):
        conn.read_request()
        conn.send(b"HTTP/1.1 200 So\r\nX-A: b\r\n\r\n" + body)
    gate = rig.gateway(rig.upstream(script))
    response = harness.fetch(gate.port)
    assert response.complete and bytes(response.body) == body
    assert response.framing in ("chunked", "close")


def test_requests_are_unchanged(rig_and_gate):
    fields = ["Accept: */*", "X-First: 1", "Cookie: a=1; b=2", "x-odd-CASE:  v  ", "X-Empty:",
              "X-Octets: d\xe9j\xe0", "Accept: text/x", "User-Agent: t", "Range: bytes=0-1",
              "If-None-Match: \"a\""]
    target = "/a%2Fb/..//c;d=e?q=%20&r=[]&s=a+b&t={}|^`".replace("{}|^`", "%7B%7D")
    seen, response = through(rig_and_gate, wire.build_response(200, body=b"ok"), "GET", target,
                             *fields, host="shop.example:8080")
    assert response.status == 200
    assert (seen.method, seen.target, seen.version) == ("GET", target, "HTTP/1.1")
    assert seen.all("host") == ["shop.example:8080"]
    wanted = passed_on(wire.parse_fields([field.encode("latin-1") for field in fields]))
    ours = {"host", "via", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host",
            "connection"}
    assert passed_on(seen.fields, ours) == wanted


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_methods_pass(rig_and_gate, method):
    answer = (b"HTTP/1.1 200 So\r\nContent-Length: 5\r\n\r\n" +
              (b"" if method == "HEAD" else b"hello"))
    seen, response = through(rig_and_gate, answer, method, "/m")
    assert seen.method == method
    assert response.complete and response.get("content-length") == "5"


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_request_body_and_framing(rig_and_gate, chunked):
    body = bytes(range(256)) * 40
    seen, response = through(rig_and_gate, wire.build_response(200, body=b"ok"), "POST", "/up",
                             body=body, chunked=chunked)
    assert response.status == 200
    assert seen.body == body
    assert seen.is_chunked == chunked
    assert seen.length == (None if chunked else len(body))


def test_forwarding_fields_are_ours(rig_and_gate):
    spoofed = ["X-Forwarded-For: 6.6.6.6", "X-Forwarded-Proto: https", "X-Forwarded-For: 7.7.7.7",
               "X-Forwarded-Host: evil", "Forwarded: for=6.6.6.6", "x-forwarded-HOST: evil2"]
    seen, _ = through(rig_and_gate, wire.build_response(200, body=b"ok"), "GET", "/x", *spoofed,
                      host="good.example")
    assert seen.all("x-forwarded-for") == ["127.0.0.1"]
    assert seen.all("x-forwarded-proto") == ["http"]
    assert seen.all("x-forwarded-host") == ["good.example"]
    assert seen.all("forwarded") == []


def test_via_both_ways(rig_and_gate):
    seen, response = through(rig_and_gate, wire.build_response(200, "Via: 1.1 up", body=b"ok"),
                             "GET", "/x", "Via: 1.0 client-side")
    for one in (seen, response):
        last = one.get("via", "").split(",")[-1].strip()
        assert last.startswith("1.1 ") and "weir" in last, one.fields
    assert "1.1 up" in response.get("via")


def test_hop_fields_of_a_request_are_dropped(rig_and_gate):
    seen, response = through(
        rig_and_gate, wire.build_response(200, body=b"ok"), "GET", "/x",
        "Connection: keep-alive, X-Hop , x-other", "X-Hop: 1", "X-Other: 2", "X-Stays: 3",
        "Keep-Alive: timeout=5", "Proxy-Connection: keep-alive", "TE: deflate",
        "Upgrade: h2c", "Connection: x-third", "X-Third: 4")
    assert response.status == 200
    for name in ("x-hop", "x-other", "x-third", "keep-alive", "proxy-connection", "te", "upgrade"):
        assert name not in seen.names(), name
    assert seen.get("x-stays") == "3"
    for option in ("x-hop", "x-other", "x-third"):
        assert option not in seen.items_of("connection")


def test_hop_fields_of_an_answer_are_dropped(rig_and_gate):
    _, response = through(rig_and_gate, wire.build_response(
        200, "Connection: X-Hop,keep-alive", "X-Hop: 1", "Keep-Alive: timeout=99",
        "Proxy-Connection: keep-alive", "X-Stays: 3", body=b"ok"))
    for name in ("x-hop", "proxy-connection"):
        assert name not in response.names(), name
    assert response.get("keep-alive") != "timeout=99"
    assert response.get("x-stays") == "3"
    assert "x-hop" not in response.items_of("connection")


@pytest.mark.parametrize("named", ["Host", "X-Forwarded-For", "Authorization", "Content-Length",
                                   "Via"])
def test_connection_cannot_remove_what_matters(rig_and_gate, named):
    state, upstream, gate = rig_and_gate
    state["answer"] = wire.build_response(200, body=b"ok")
    before = len(upstream.requests)
    response = harness.fetch(gate.port, "POST", "/x", f"Connection: {named}",
                             "Authorization: Basic eDp5", body=b"hello")
    if response.status == 400:
        assert len(upstream.requests) == before
        return
    assert response.status == 200
    seen = upstream.requests[-1]
    assert named.lower() in seen.names()
    assert seen.body == b"hello"


def test_trailers_of_an_answer(rig_and_gate):
    _, response = through(rig_and_gate, wire.build_response(
        200, "Trailer: X-Sum", body=b"hello", chunked=True,
        trailers=["X-Sum: 99", "X-Other: d\xe9"]), "GET", "/x", "TE: trailers", "Connection: TE")
    assert response.complete
    assert [(name.lower(), value) for name, value in response.trailers] == [
        ("x-sum", "99"), ("x-other", "d\xe9")]


def test_trailers_of_a_request(rig_and_gate):
    seen, response = through(rig_and_gate, wire.build_response(200, body=b"ok"), "POST", "/x",
                             "Trailer: X-Sum", body=b"hello", chunked=True,
                             trailers=["X-Sum: 99"])
    assert response.status == 200 and seen.body == b"hello"
    assert [(name.lower(), value) for name, value in seen.trailers] == [("x-sum", "99")]


def test_forbidden_trailers_never_pass(rig_and_gate):
    bad = ["Content-Length: 3", "Transfer-Encoding: chunked", "Host: evil",
           "Authorization: Basic eDp5", "X-Forwarded-For: 6.6.6.6", "X-Good: 1"]
    state, upstream, gate = rig_and_gate
    state["answer"] = wire.build_response(200, body=b"hello", chunked=True, trailers=bad)
    response = harness.fetch(gate.port, "POST", "/x", "TE: trailers", "Connection: TE",
                             body=b"hello", chunked=True, trailers=bad)
    wanted = [[("x-good", "1")], []]
    if response.complete and response.status == 200:
        seen = upstream.requests[-1]
        assert [(name.lower(), value) for name, value in seen.trailers] in wanted
        assert [(name.lower(), value) for name, value in response.trailers] in wanted


def test_the_head_goes_out_before_any_body(rig):
    release = threading.Event()

    def script(conn):
        conn.read_request()
        conn.send(b"HTTP/1.1 200 So\r\nX-A: b\r\nContent-Length: 5\r\n\r\n")
        release.wait(20)
        conn.send(b"hello")
        conn.wait_gone()
    gate = rig.gateway(rig.upstream(script))
    client = rig.client(gate)
    client.request("GET", "/x")
    head = client.read_head()
    assert head.status == 200 and head.get("x-a") == "b" and not head.body
    release.set()
    assert bytes(client.read_response().body) == b"hello"


def test_each_event_goes_out_at_once(rig):
    step = threading.Semaphore(0)

    def script(conn):
        conn.read_request()
        conn.send(b"HTTP/1.1 200 So\r\nTransfer-Encoding: chunked\r\n\r\n")
        for number in range(20):
            step.acquire(timeout=20)
            conn.send(wire.chunk(b"data: %d\n\n" % number))
        conn.send(wire.last_chunk())
        conn.wait_gone()
    gate = rig.gateway(rig.upstream(script))
    client = rig.client(gate)
    client.request("GET", "/x")
    client.read_head()
    for number in range(20):
        step.release()
        mark = b"data: %d\n\n" % number
        client.read_more(lambda response: response.body.endswith(mark))
    assert client.read_response().complete


def test_the_request_body_goes_out_as_it_comes(rig):
    got = []

    def script(conn):
        request = conn.read_head()
        for _ in range(10):
            got.append(conn.exactly(5))
        conn.send(wire.build_response(200, body=b"ok"))
        assert request.length == 50
    gate = rig.gateway(rig.upstream(script))
    client = rig.client(gate)
    client.send(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 50\r\n\r\n")
    for number in range(10):
        client.send(b"%05d" % number)
        harness.wait_until(lambda: len(got) > number, 5, f"piece {number} at the upstream")
    assert client.read_response().status == 200


def test_interim_answers_pass(rig):
    def script(conn):
        conn.read_request()
        conn.send(b"HTTP/1.1 103 Early\r\nLink: </a>\r\n\r\n" + wire.build_response(
            200, body=b"ok"))
        conn.wait_gone()
    gate = rig.gateway(rig.upstream(script))
    response = harness.fetch(gate.port)
    assert response.status == 200 and response.complete
    assert [one.status for one in response.interim] in ([103], [])


def test_keep_alive_on_both_legs(rig_and_gate):
    state, upstream, gate = rig_and_gate
    state["answer"] = wire.build_response(200, body=b"ok")
    connections = len(upstream.connections)
    with harness.Client(gate.port) as client:
        for _ in range(50):
            client.request("GET", "/x")
            assert client.read_response().status == 200
    assert len(upstream.connections) - connections <= 1


def test_pipelining_keeps_the_order(rig):
    upstream = rig.upstream(harness.answering(
        lambda request: wire.build_response(200, body=request.target.encode())))
    gate = rig.gateway(upstream)
    client = rig.client(gate)
    client.send(b"".join(wire.build_request("GET", f"/{number}") for number in range(20)))
    for number in range(20):
        response = client.read_response()
        assert bytes(response.body) == b"/%d" % number


def test_head_leaves_the_connection_usable(rig_and_gate):
    state, _, gate = rig_and_gate
    with harness.Client(gate.port) as client:
        for framing in ("Content-Length: 100", "Transfer-Encoding: chunked"):
            state["answer"] = f"HTTP/1.1 200 So\r\n{framing}\r\n\r\n".encode()
            client.request("HEAD", "/x")
            response = client.read_response("HEAD")
            assert response.complete and not client.rest
        assert response.status == 200
        state["answer"] = wire.build_response(200, body=b"after")
        client.request("GET", "/x")
        assert bytes(client.read_response().body) == b"after"


def test_http10_clients_get_no_chunks(rig_and_gate):
    state, _, gate = rig_and_gate
    state["answer"] = b"HTTP/1.1 103 Early\r\nLink: </a>\r\n\r\n" + wire.build_response(
        200, body=b"hello" * 100, chunked=True)
    with harness.Client(gate.port) as client:
        client.request("GET", "/x", version="HTTP/1.0")
        response = client.read_response()
        assert response.complete and response.framing in ("close", "length")
        assert bytes(response.body) == b"hello" * 100
        assert response.interim == [] and not response.all("transfer-encoding")


def test_broken_answer_to_http10_is_visible(rig):
    def script(conn):
        conn.read_request()
        conn.send(b"HTTP/1.1 200 So\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        conn.close()
    gate = rig.gateway(rig.upstream(script))
    response = harness.fetch(gate.port, version="HTTP/1.0")
    assert not response.complete or response.status == 502


@pytest.mark.parametrize("method", ["POST", "PUT"])
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_upload_digest(origin, rig, method, chunked):
    gate = rig.gateway(origin)
    body = bytes(range(251)) * 33_000
    client = rig.client(gate, timeout=60)
    piece = 100_000
    if chunked:
        client.send(f"{method} /upload HTTP/1.1\r\nHost: a\r\n"
                    "Transfer-Encoding: chunked\r\n\r\n".encode())
        for at in range(0, len(body), piece):
            client.send(wire.chunk(body[at:at + piece]))
        client.send(wire.last_chunk())
    else:
        client.send(f"{method} /upload HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n"
                    .encode() + body)
    text = bytes(client.read_response().body)
    assert hashlib.sha256(body).hexdigest().encode() in text
    assert str(len(body)).encode() in text
