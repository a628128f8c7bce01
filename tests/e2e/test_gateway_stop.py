# SPDX-License-Identifier: MIT
"""SIGTERM: who is being served is served, within the grace; then the cut is visible."""

import os
import signal
import threading
import time

import pytest

import harness
import wire

HEADS = {"length": b"HTTP/1.1 200 So\r\nContent-Length: 10\r\n\r\nhello",
         "chunked": b"HTTP/1.1 200 So\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
         "close": b"HTTP/1.1 200 So\r\n\r\nhello"}
TAILS = {"length": b"world", "chunked": b"5\r\nworld\r\n0\r\n\r\n", "close": b"world"}


class Stopping:
    """A gateway, told to stop while it streams for some clients."""

    def __init__(self, rig, kind, threads, clients=6, **settings):
        self.go_on = threading.Event()

        def script(conn):
            conn.read_head()
            conn.send(HEADS[kind])
            if self.go_on.wait(20 * harness.SLOW):
                conn.send(TAILS[kind])
                conn.fin()
            conn.wait_gone()

        self.upstream = rig.upstream(script)
        self.gate = rig.gateway(self.upstream, threads=threads, settings=settings, managed=False)
        self.clients = [rig.client(self.gate, timeout=20) for _ in range(clients)]
        for client in self.clients:
            client.request("GET", "/x")
            client.read_head()
            client.read_more(lambda response: bytes(response.body) == b"hello")

    def term(self):
        self.gate.process.send_signal(signal.SIGTERM)

    def refuses(self):
        """No listener any more."""
        try:
            harness.Client(self.gate.port, 1).close()
        except OSError:
            return True
        return False

    def ended(self, seconds):
        """Once its clients have closed as well, it has ended by itself, cleanly."""
        for client in self.clients:
            client.close()
        assert self.gate.process.wait(seconds * harness.SLOW) == 0
        text = self.gate.stderr()
        assert not [word for word in harness.SANITIZER_WORDS if word in text], text[-4000:]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("kind", sorted(HEADS))
def test_streams_end_well_within_the_grace(rig, kind, threads):
    stop = Stopping(rig, kind, threads)
    stop.term()
    harness.wait_until(stop.refuses, 3, "the listeners to be closed")
    assert stop.gate.is_alive()
    stop.go_on.set()
    for client in stop.clients:
        response = client.read_response()
        assert response.complete and bytes(response.body) == b"helloworld", response
    stop.ended(5)
    assert {record["outcome"] for record in stop.gate.log.ends()} == {"complete"}


@pytest.mark.parametrize("kind", sorted(HEADS))
def test_streams_are_cut_visibly_after_the_grace(rig, kind):
    stop = Stopping(rig, kind, 2, **{"shutdown.grace": "300ms"})
    started = time.monotonic()
    stop.term()
    for client in stop.clients:
        response = client.read_response()
        assert response.broken, response
    assert time.monotonic() - started >= 0.25
    stop.ended(5)
    stop.go_on.set()
    harness.wait_until(lambda: stop.upstream.live == 0, 5, "the upstream's connections to end")
    ends = stop.gate.log.ends()
    assert len(ends) == len(stop.clients)
    assert {(record["outcome"], record["end_by"]) for record in ends} == {("shutdown", "weir")}


def test_a_second_signal_cuts_at_once(rig):
    stop = Stopping(rig, "chunked", 2, **{"shutdown.grace": "60s"})
    stop.term()
    harness.wait_until(stop.refuses, 3, "the listeners to be closed")
    stop.term()
    for client in stop.clients:
        assert client.read_response().broken
    stop.ended(5)
    stop.go_on.set()


def test_idle_connections_do_not_delay_the_end(rig):
    upstream = rig.upstream(harness.answering(wire.build_response(200, body=b"ok")))
    gate = rig.gateway(upstream, managed=False)
    clients = [rig.client(gate) for _ in range(20)]
    for client in clients[:10]:
        client.request("GET", "/x")
        assert client.read_response().complete
    started = time.monotonic()
    gate.process.send_signal(signal.SIGTERM)
    assert gate.process.wait(5 * harness.SLOW) == 0
    assert time.monotonic() - started < 2 * harness.SLOW
    for client in clients:
        assert client.sock.recv(100) == b""


@pytest.mark.parametrize("threads", [1, 2])
def test_requests_that_are_there_already_are_answered(rig, threads):
    """Accepted or still in the listener's queue when the signal comes, on new and kept connections."""
    upstream = rig.upstream(harness.answering(wire.build_response(200, body=b"ok")))
    gate = rig.gateway(upstream, threads=threads, managed=False)
    kept = [rig.client(gate) for _ in range(5)]
    for client in kept:
        client.request("GET", "/x")
        assert client.read_response().complete
    os.kill(gate.pid, signal.SIGSTOP)
    fresh = [rig.client(gate) for _ in range(10)]
    for client in kept + fresh:
        client.request("GET", "/x")
    gate.process.send_signal(signal.SIGTERM)
    os.kill(gate.pid, signal.SIGCONT)
    for client in kept + fresh:
        response = client.read_response()
        assert response.complete and response.status == 200, response
        assert "close" in response.items_of("connection")
        client.close()
    assert gate.process.wait(5 * harness.SLOW) == 0


def test_an_upload_ends_well_within_the_grace(rig):
    upstream = rig.upstream(harness.answering(wire.build_response(200, body=b"got it")))
    gate = rig.gateway(upstream, managed=False)
    client = rig.client(gate)
    client.send(b"POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello")
    upstream.wait_connections(1)
    gate.process.send_signal(signal.SIGTERM)
    time.sleep(0.2)
    client.send(b"world")
    assert bytes(client.read_response().body) == b"got it"
    client.close()
    assert gate.process.wait(5 * harness.SLOW) == 0
    assert upstream.requests[0].body == b"helloworld"
