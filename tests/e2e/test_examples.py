# SPDX-License-Identifier: MIT
"""The examples by themselves, as far as the other tests rely on them."""

import hashlib
import json

import harness
import wire


def test_hello_answers_any_method(hello):
    for method in ("GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"):
        response = harness.fetch(hello.port, method, "/")
        assert (response.status, bytes(response.body)) == (200, b"hello\n")


def test_hello_dates_its_answers(hello):
    assert harness.fetch(hello.port).get("date", "").endswith(" GMT")


def test_big_has_its_length(hello):
    for count in (0, 1, 65536, 3_000_000):
        response = harness.fetch(hello.port, "GET", f"/big?n={count}")
        assert response.complete and response.framing == "length"
        assert response.body_bytes == count


def test_echo_streams(hello):
    """The answer begins before the request has ended."""
    with harness.Client(hello.port) as client:
        client.send(b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        client.send(wire.chunk(b"first"))
        client.read_head()
        client.read_more(lambda response: bytes(response.body) == b"first")
        client.send(wire.chunk(b"second") + wire.last_chunk())
        response = client.read_response()
        assert response.complete and bytes(response.body) == b"firstsecond"


def test_echo_of_a_broken_body_is_broken(hello):
    with harness.Client(hello.port) as client:
        client.send(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello")
        client.fin()
        response = client.read_response()
        assert not (response.complete and response.status == 200)


def test_expectation_is_answered_on_the_first_read(hello):
    with harness.Client(hello.port) as client:
        client.send(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n"
                    b"Expect: 100-continue\r\n\r\n")
        interim = client.read_interim()
        assert interim is not None and interim.status == 100
        client.send(b"hello")
        assert bytes(client.read_response().body) == b"hello"


def test_upload_hashes(origin):
    for size in (0, 1, 70_000):
        body = b"q" * size
        response = harness.fetch(origin.port, "POST", "/upload", body=body)
        assert json.loads(bytes(response.body)) == {
            "bytes": size, "sha256": hashlib.sha256(body).hexdigest()}


def test_report_framings(origin):
    for query, framing in (("mb=1", "length"), ("mb=1&chunked=1", "chunked")):
        response = harness.fetch(origin.port, "GET", f"/report?{query}")
        assert response.complete and response.framing == framing
        assert response.body_bytes >= 1_000_000
        assert b"," in response.body[:200]


def test_mega_is_one_chunk(origin):
    with harness.Client(origin.port, 30) as client:
        client.request("GET", "/mega?mb=2")
        octets = b""
        while not octets.endswith(b"0\r\n\r\n"):
            octets += client.sock.recv(1 << 20)
    size = octets.split(b"\r\n\r\n", 1)[1].split(b"\r\n")[0]
    assert int(size.split(b";")[0], 16) in (2_000_000, 2 << 20)


def test_origin_notices_who_leaves(origin):
    def stats():
        return json.loads(bytes(harness.fetch(origin.port, "GET", "/stats").body))
    before = stats()["canceled"]
    client = harness.Client(origin.port)
    client.request("GET", "/sse?interval_ms=1000")
    client.read_head()
    client.close()
    harness.wait_until(lambda: stats()["canceled"] > before, 2, "the cancel to be counted")


def test_ends_on_sigterm_with_idle_connections():
    import conftest
    conftest.need("weir", "hello")
    program = harness.example("hello")
    clients = [harness.Client(program.port) for _ in range(5)]
    clients[0].request("GET", "/")
    assert clients[0].read_response().status == 200
    program.stop(seconds=10)
    for client in clients:
        client.close()
