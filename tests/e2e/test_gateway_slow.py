# SPDX-License-Identifier: MIT
"""Peers that are slow on purpose: clocks run only while that side is the cause."""

import threading
import time

import pytest

import harness
import wire

MS = harness.SLOW


def clock(milliseconds):
    return f"{int(milliseconds * MS)}ms"


def check_408(client, within=5):
    """408 (if anything) and the end of the connection."""
    response = client.read_response(timeout=within)
    if response.status is not None:
        assert response.status == 408, response
    client.wait_closed(within)


@pytest.mark.parametrize("sent", [b"GET / HT", b"GET / HTTP/1.1\r\nHost: a\r\nX-A: "],
                         ids=["line", "field"])
def test_slowloris_head(rig, sent):
    gate = rig.gateway(rig.upstream(harness.holding()),
                       settings={"client.timeouts.head": clock(400)})
    client = rig.client(gate)
    client.send(sent)
    response = client.read_response(timeout=5)
    assert response.status == 408 and response.complete
    assert client.wait_closed() in ("fin", "rst")


def test_slowloris_head_dribbles(rig):
    """A byte now and then does not restart the clock of the head."""
    gate = rig.gateway(rig.upstream(harness.holding()),
                       settings={"client.timeouts.head": clock(500)})
    client = rig.client(gate)
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\n")
    start = time.monotonic()
    while client.is_open() and time.monotonic() - start < 10 * MS:
        if not client.try_send(b"X-A: b\r\n"):
            break
        time.sleep(0.05)
    assert time.monotonic() - start < 8 * MS
    check_408(client)


def test_slowloris_head_on_a_kept_connection(rig):
    """The clock of the head also runs for the second request."""
    upstream = rig.upstream(harness.answering(wire.build_response(200, body=b"ok")))
    gate = rig.gateway(upstream, settings={"client.timeouts.head": clock(400)})
    client = rig.client(gate)
    client.request("GET", "/x")
    assert client.read_response().status == 200
    client.send(b"GET /y HTTP/1.1\r\n")
    check_408(client)


def test_idle_kept_connection_is_closed_without_an_answer(rig):
    upstream = rig.upstream(harness.answering(wire.build_response(200, body=b"ok")))
    gate = rig.gateway(upstream, settings={"client.timeouts.keepalive": clock(400),
                                           "client.timeouts.head": clock(400)})
    client = rig.client(gate)
    client.request("GET", "/x")
    assert client.read_response().status == 200
    assert client.wait_closed() == "fin"
    assert not client.rest


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_body_stops(rig, chunked):
    """body_gap: the client stops in its body; upstream is let go."""
    upstream = rig.upstream(harness.holding(20))
    gate = rig.gateway(upstream, settings={"client.timeouts.body_gap": clock(400)})
    client = rig.client(gate)
    framing = b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n" if chunked else (
        b"Content-Length: 10\r\n\r\nhello")
    client.send(b"POST /x HTTP/1.1\r\nHost: a\r\n" + framing)
    response = client.read_response(timeout=8)
    assert response.status in (None, 408)
    client.wait_closed()
    harness.wait_until(lambda: upstream.connections[0].gone, 2, "the upstream's end")
    record = gate.log.wait_end(client.peer)
    assert record["outcome"] in ("client_stalled", "limit") and record["end_by"] != "upstream"


def test_body_in_time_goes_on(rig):
    """A gap below the clock again and again is fine."""
    upstream = rig.upstream(harness.answering(wire.build_response(200, body=b"ok")))
    gate = rig.gateway(upstream, settings={"client.timeouts.body_gap": clock(600)})
    client = rig.client(gate)
    client.send(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\n\r\n")
    for _ in range(12):
        time.sleep(0.1)
        client.send(b"x")
    assert client.read_response().status == 200


def test_body_clock_rests_while_the_upstream_does_not_read(rig):
    """The upstream is the cause: the client's clock does not run."""
    go = threading.Event()

    def script(conn):
        request = conn.read_head()
        go.wait(20)
        conn.read_body(request)
        conn.send(wire.build_response(200, body=b"ok"))
        conn.wait_gone()
    gate = rig.gateway(rig.upstream(script, receive_buffer=65536),
                       settings={"client.timeouts.body_gap": clock(400)})
    client = rig.client(gate, timeout=30)
    body = b"x" * 8_000_000
    client.send(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body))
    thread = threading.Thread(target=client.try_send, args=(body,), daemon=True)
    thread.start()
    time.sleep(1.2 * MS)
    go.set()
    response = client.read_response()
    assert response.status == 200 and response.complete


def endless(conn):
    conn.read_head()
    conn.send(b"HTTP/1.1 200 So\r\nContent-Length: 1000000000\r\n\r\n")
    conn.sent = 0
    try:
        while True:
            conn.sent += conn.sock.send(b"x" * 65536)
    except OSError:
        conn.gone = "rst"


def test_reader_stops(rig):
    """client_stalled: the client is cut, visibly, and the upstream let go."""
    upstream = rig.upstream(endless)
    gate = rig.gateway(upstream, settings={"client.timeouts.stall": clock(700)})
    client = rig.client(gate)
    client.request("GET", "/x")
    client.read_head()
    conn = upstream.wait_connections(1)
    harness.wait_until(lambda: conn.gone, 15, "the upstream's end")
    record = gate.log.wait_end(client.peer)
    assert record["outcome"] == "client_stalled", record
    assert record["end_by"] in ("weir", "client")
    harness.check_stalls(record)
    response = client.read_response(timeout=10, keep_body=False)
    assert not response.complete


def test_reader_pauses_and_goes_on(rig):
    """A pause below the clock costs nothing; every byte arrives."""
    total = 30_000_000

    def script(conn):
        conn.read_head()
        conn.send(b"HTTP/1.1 200 So\r\nContent-Length: %d\r\n\r\n" % total)
        conn.send(b"x" * total)
        conn.wait_gone()
    gate = rig.gateway(rig.upstream(script), settings={"client.timeouts.stall": clock(3000)})
    client = rig.client(gate, timeout=30)
    client.request("GET", "/x")
    client.read_head()
    for at in (1_000_000, 10_000_000, 20_000_000):
        time.sleep(0.7)
        client.read_more(lambda response, at=at: response.body_bytes >= at, keep_body=False)
    response = client.read_response(keep_body=False)
    assert response.complete and response.body_bytes == total
    record = gate.log.wait_end(client.peer)
    assert record["outcome"] == "complete"
    harness.check_stalls(record)


def test_stall_clock_rests_while_the_upstream_is_silent(rig):
    """An idle stream is nobody's stall: the client has read all there is."""
    def script(conn):
        conn.read_head()
        conn.send(b"HTTP/1.1 200 So\r\nContent-Length: 10\r\n\r\nhello")
        time.sleep(1.2 * MS)
        conn.send(b"world")
        conn.wait_gone()
    gate = rig.gateway(rig.upstream(script), settings={"client.timeouts.stall": clock(400)})
    response = harness.fetch(gate.port)
    assert response.complete and bytes(response.body) == b"helloworld"


def test_slow_reader_slows_its_upstream_only(rig):
    """Flat memory: what the upstream can push for a client that does not read is bounded, and
    a neighbour is not slowed."""
    upstream = rig.upstream(lambda conn: endless(conn) if conn.upstream.connections[0] is conn
                            else harness.answering(wire.build_response(200, body=b"ok"))(conn))
    gate = rig.gateway(upstream)
    client = rig.client(gate, receive_buffer=65536)
    client.request("GET", "/x")
    client.read_head()
    conn = upstream.wait_connections(1)
    time.sleep(1.0)
    before, rss = conn.sent, gate.rss()
    start = time.monotonic()
    for _ in range(20):
        assert harness.fetch(gate.port).status == 200
    assert time.monotonic() - start < 3 * MS
    time.sleep(0.5)
    assert conn.sent - before < 1_000_000, "it goes on pulling"
    assert gate.rss() - rss < 8 << 20
    assert gate.cpu_share(0.5) < 0.2, "spins on a blocked client"


@pytest.mark.slow
def test_min_rate_of_an_upload(rig):
    """A client that dribbles its body below the rate is cut some time after the grace of 30 s."""
    upstream = rig.upstream(harness.holding(120))
    gate = rig.gateway(upstream, settings={"client.min_rate": "100KiB"})
    client = rig.client(gate)
    client.send(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 10000000\r\n\r\n")
    start = time.monotonic()
    while client.is_open() and time.monotonic() - start < 75:
        if not client.try_send(b"x" * 100):
            break
        time.sleep(0.2)
    assert 20 < time.monotonic() - start < 70
    record = gate.log.wait_end(client.peer)
    assert record["outcome"] in ("client_stalled", "limit")


def test_many_slowloris_do_not_block_the_rest(rig):
    upstream = rig.upstream(harness.answering(wire.build_response(200, body=b"ok")))
    gate = rig.gateway(upstream, settings={"client.timeouts.head": clock(1500)})
    slow = [rig.client(gate) for _ in range(300)]
    for client in slow:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n")
    rss = gate.rss()
    for _ in range(20):
        assert harness.fetch(gate.port).status == 200
    assert rss < 200 << 20 or harness.IS_SANITIZED
    for client in slow:
        response = client.read_response(timeout=15)
        assert response.status == 408 and response.complete


@pytest.mark.parametrize("settings, least, most", [
    ({}, 0, 400_000), ({"forward.fast_after": 0}, 900_000, 1_500_000)], ids=["default", "at-once"])
def test_how_far_ahead_of_who_reads_nothing(rig, settings, least, most):
    """A receiver is not known at first, and gets little; forward.fast_after=0 trusts it at once."""
    def script(conn):
        conn.read_head()
        conn.send(b"HTTP/1.1 200 So\r\nContent-Length: 50000000\r\n\r\n")
        conn.flood(b"x" * 65536, 700)
    gate = rig.gateway(rig.upstream(script), settings={"access_log_every": "1s", **settings})
    client = rig.client(gate, receive_buffer=8192)
    client.request("GET", "/x")

    def sent():
        return [record["bytes"]["client_tx"] for record in gate.log.records()
                if record["kind"] == "progress"]
    counts = harness.wait_until(lambda: len(sent()) >= 2 and sent(), 10, "two records")
    assert least <= counts[1] <= most, counts
