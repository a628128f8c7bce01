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
    """One emit is one chunk on the wire, whatever its size."""
    with harness.Client(origin.port, 30) as client:
        client.request("GET", "/mega?mb=2")
        octets = b""
        while not octets.endswith(b"0\r\n\r\n"):
            octets += client.sock.recv(1 << 20)
    head, rest = octets.split(b"\r\n\r\n", 1)
    size, rest = rest.split(b"\r\n", 1)
    assert b"chunked" in head and int(size, 16) == 2 << 20
    told = json.loads(bytes(harness.fetch(origin.port, "GET", "/mega/sha256?mb=2").body))
    assert told["sha256"] == hashlib.sha256(rest[:2 << 20]).hexdigest()
    response = harness.fetch(origin.port, "GET", "/mega?mb=2")
    assert response.complete and bytes(response.body) == rest[:2 << 20]


def test_report_is_what_its_hash_says(origin):
    for seed in (0, 7):
        told = json.loads(bytes(harness.fetch(origin.port, "GET", f"/report/sha256?mb=2&seed={seed}").body))
        response = harness.fetch(origin.port, "GET", f"/report?mb=2&seed={seed}")
        assert response.complete and response.body_bytes == told["bytes"] == 2 << 20
        assert hashlib.sha256(bytes(response.body)).hexdigest() == told["sha256"]


def test_report_that_fails_is_never_whole(origin):
    for query in ("after=100000", "after=100000&chunked=1"):
        response = harness.fetch(origin.port, "GET", f"/fail?{query}")
        assert not response.complete
        assert response.body_bytes <= 100000


def started(name):
    import conftest
    conftest.need("weir")
    return harness.example(name)


def test_clock_ticks():
    with started("clock") as program:
        response = harness.fetch(program.port, "GET", "/?count=3&interval_ms=10")
        assert response.get("content-type") == "text/event-stream"
        events = bytes(response.body).decode().split("\n\n")[:-1]
        assert [event.split("\n")[:2] for event in events] == [
            ["event: tick", f"id: {n}"] for n in (1, 2, 3)]


def test_chat_relays_and_stops():
    with started("chat") as program:
        response = harness.fetch(program.port, "POST", "/?delay_ms=5", body=b"a bc")
        assert bytes(response.body) == (b"data: You\n\ndata:  asked:\n\ndata:  a\n\ndata:  bc\n\n"
                                        b"event: done\ndata: \n\n")
        client = harness.Client(program.port)
        client.request("POST", "/?delay_ms=60000", body=b"never said")
        client.read_head()
        client.close()
        harness.wait_until(lambda: json.loads(bytes(harness.fetch(program.port, "GET", "/stats").body)) == {
            "running": 0, "finished": 1, "canceled": 1}, 2, "the thread to stop")
        assert harness.fetch(program.port, "GET", "/").status == 405
        assert harness.fetch(program.port, "POST", "/", body=b"x" * 20000).status == 413


def test_pubsub_delivers_and_resumes():
    def post(port, text):
        return harness.fetch(port, "POST", "/events", body=text)

    def listen(port, *fields):
        client = harness.Client(port)
        client.request("GET", "/events", *fields)
        assert client.read_head().get("content-type") == "text/event-stream"
        return client

    def expect(client, text):
        response = client.read_more(lambda seen: len(seen.body) >= len(text))
        assert bytes(response.body) == text

    with started("pubsub") as program:
        with listen(program.port) as first, listen(program.port) as second:
            assert bytes(post(program.port, b"good morning").body) == b"1\n"
            assert bytes(post(program.port, b"two\nlines").body) == b"2\n"
            both = b"id: 1\ndata: good morning\n\nid: 2\ndata: two\ndata: lines\n\n"
            expect(first, both)
            expect(second, both)
        with listen(program.port, "Last-Event-ID: 1") as again:
            expect(again, b"id: 2\ndata: two\ndata: lines\n\n")
            post(program.port, b"three")
            expect(again, b"id: 2\ndata: two\ndata: lines\n\nid: 3\ndata: three\n\n")
        for _ in range(1010):
            post(program.port, b"x")
        with listen(program.port, "Last-Event-ID: 3") as late:
            expect(late, b"event: lagged\nid: 13\ndata: 10\n\nid: 14\ndata: x\n\n" + b"".join(
                b"id: %d\ndata: x\n\n" % number for number in range(15, 1014)))
        assert post(program.port, b"x" * 20000).status == 413
        assert harness.fetch(program.port, "PUT", "/events").get("allow") == "GET, POST, HEAD, OPTIONS"


def test_slow_source_ends_and_fails():
    with started("slow_source") as program:
        response = harness.fetch(program.port, "GET", "/?lines=3&interval_ms=5")
        assert response.complete and bytes(response.body) == b"line 1 of 3\nline 2 of 3\nline 3 of 3\n"
        response = harness.fetch(program.port, "GET", "/?lines=3&interval_ms=5&fail_at=3")
        assert not response.complete and bytes(response.body) == b"line 1 of 3\nline 2 of 3\n"


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
