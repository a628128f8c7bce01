# SPDX-License-Identifier: MIT
"""Whoever leaves is noticed: a client that vanishes in any phase ends the work upstream."""

import json
import threading
import time

import pytest

import harness
import wire

WITHIN = 1.0
LEAVING = {"fin": lambda client: client.fin(), "rst": lambda client: client.reset(),
           "close": lambda client: client.close()}


class Phase:
    """A client and an upstream brought to one phase of an exchange."""

    def __init__(self, rig, script):
        self.upstream = rig.upstream(script)
        self.gate = rig.gateway(self.upstream)
        self.client = rig.client(self.gate)
        self.started = time.monotonic()


def waiting_for_the_head(rig):
    phase = Phase(rig, harness.holding(20))
    phase.client.request("GET", "/x")
    phase.upstream.wait_request()
    return phase


def waiting_for_the_head_of_an_upload(rig):
    def script(conn):
        conn.read_request()
        conn.wait_gone(20)
    phase = Phase(rig, script)
    phase.client.request("POST", "/x", body=b"x" * 100_000)
    harness.wait_until(lambda: phase.upstream.requests and phase.upstream.requests[0].body, 5)
    return phase


def sending_the_body(rig):
    phase = Phase(rig, harness.holding(20))
    phase.client.send(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n" +
                      b"x" * 10_000)
    phase.upstream.wait_request()
    return phase


def sending_a_chunked_body(rig):
    phase = Phase(rig, harness.holding(20))
    phase.client.send(b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" +
                      wire.chunk(b"x" * 1000))
    phase.upstream.wait_request()
    return phase


def waiting_for_the_first_byte(rig):
    def script(conn):
        conn.read_head()
        conn.send(b"HTTP/1.1 200 So\r\nContent-Length: 5\r\n\r\n")
        conn.wait_gone(20)
    phase = Phase(rig, script)
    phase.client.request("GET", "/x")
    phase.client.read_head()
    return phase


def idle_between_events(rig):
    def script(conn):
        conn.read_head()
        conn.send(b"HTTP/1.1 200 So\r\nTransfer-Encoding: chunked\r\n\r\n" +
                  wire.chunk(b"data: 1\n\n"))
        conn.wait_gone(20)
    phase = Phase(rig, script)
    phase.client.request("GET", "/x")
    phase.client.read_head()
    phase.client.read_more(lambda response: response.body)
    return phase


def streaming(rig):
    def script(conn):
        conn.read_head()
        conn.send(b"HTTP/1.1 200 So\r\nTransfer-Encoding: chunked\r\n\r\n")
        piece = wire.chunk(b"x" * 1000)
        while True:
            try:
                conn.send(piece)
            except OSError:
                conn.gone, conn.gone_at = "rst", time.monotonic()
                return
            threading.Event().wait(0.002)
    phase = Phase(rig, script)
    phase.client.request("GET", "/x")
    phase.client.read_head()
    phase.client.read_more(lambda response: len(response.body) > 5000)
    return phase


def stalled(rig):
    """The client does not read; the upstream is blocked in its send."""
    def script(conn):
        conn.read_head()
        conn.send(b"HTTP/1.1 200 So\r\nContent-Length: 1000000000\r\n\r\n")
        conn.sent = 0
        conn.sock.settimeout(30 * harness.SLOW)
        try:
            while True:
                conn.sent += conn.sock.send(b"x" * 65536)
        except OSError:
            conn.gone, conn.gone_at = "rst", time.monotonic()
    phase = Phase(rig, script)
    phase.client.request("GET", "/x")
    phase.client.read_head()
    conn = phase.upstream.wait_connections(1)
    last = [-1]

    def is_blocked():
        before, last[0] = last[0], getattr(conn, "sent", 0)
        time.sleep(0.2)
        return last[0] > 0 and getattr(conn, "sent", 0) == before
    harness.wait_until(is_blocked, 20, "the upstream to be blocked")
    return phase


PHASES = [waiting_for_the_head, waiting_for_the_head_of_an_upload, sending_the_body,
          sending_a_chunked_body, waiting_for_the_first_byte, idle_between_events, streaming,
          stalled]


@pytest.mark.parametrize("how", sorted(LEAVING))
@pytest.mark.parametrize("bring", PHASES, ids=lambda bring: bring.__name__)
def test_client_vanishes(rig, bring, how):
    phase = bring(rig)
    conn = phase.upstream.wait_connections(1)
    assert conn.gone is None
    left = time.monotonic()
    LEAVING[how](phase.client)
    harness.wait_until(lambda: conn.gone_at, WITHIN, "the upstream connection to end")
    assert conn.gone_at - left <= WITHIN * harness.SLOW
    record = phase.gate.log.wait_end(phase.client.peer)
    assert record["outcome"] == "client_gone", record
    assert record["end_by"] == "client", record
    harness.check_stalls(record)


@pytest.mark.parametrize("how", sorted(LEAVING))
def test_client_vanishes_while_dialling(rig, how):
    silent = rig.enter(harness.SilentPort())
    gate = rig.gateway(silent.port, settings={"upstream.timeouts.dial": "60s"})
    client = rig.client(gate)
    client.request("GET", "/x")
    harness.wait_until(lambda: silent.dialling() > silent.base, 5, "the dial")
    LEAVING[how](client)
    harness.wait_until(lambda: silent.dialling() <= silent.base, WITHIN, "the dial to be given up")
    record = gate.log.wait_end(client.peer)
    assert record["outcome"] == "client_gone" and record["end_by"] == "client"


def test_half_close_denied_by_default(rig):
    phase = waiting_for_the_head(rig)
    phase.client.fin()
    assert phase.client.wait_closed() in ("fin", "rst")
    assert not phase.client.rest, "nothing is answered to a client that is gone"


def test_half_close_allowed(rig):
    go = threading.Event()

    def script(conn):
        conn.read_head()
        go.wait(10)
        conn.send(b"HTTP/1.1 200 So\r\nContent-Length: 10\r\n\r\nhello")
        threading.Event().wait(0.2)
        conn.send(b"world")
        conn.wait_gone()
    upstream = rig.upstream(script)
    gate = rig.gateway(upstream, settings={"half_close": "allow"})
    client = rig.client(gate)
    client.request("GET", "/x")
    upstream.wait_request()
    client.fin()
    threading.Event().wait(0.3)
    assert upstream.connections[0].gone is None
    cpu = gate.cpu_share(0.3)
    go.set()
    response = client.read_response()
    assert response.complete and bytes(response.body) == b"helloworld"
    assert cpu < 0.5, "spins on a half-closed client"
    assert client.wait_closed() == "fin"


@pytest.mark.parametrize("phase", ["head", "streaming"])
def test_half_close_allowed_still_sees_a_reset(rig, phase):
    def script(conn):
        conn.read_head()
        if phase == "streaming":
            conn.send(b"HTTP/1.1 200 So\r\nContent-Length: 10\r\n\r\nhello")
        conn.wait_gone(20)
    upstream = rig.upstream(script)
    gate = rig.gateway(upstream, settings={"half_close": "allow"})
    client = rig.client(gate)
    client.request("GET", "/x")
    upstream.wait_request()
    if phase == "streaming":
        client.read_head()
    client.fin()
    threading.Event().wait(0.1)
    client.reset()
    harness.wait_until(lambda: upstream.connections[0].gone, 2, "the upstream's end")
    assert gate.log.wait_end(client.peer)["outcome"] == "client_gone"


def test_origin_counts_the_canceled(origin, rig):
    """A real program behind it: its own counters show the cancel."""
    gate = rig.gateway(origin)

    def stats():
        return json.loads(bytes(harness.fetch(origin.port, "GET", "/stats").body))
    before = stats()
    clients = [rig.client(gate) for _ in range(10)]
    for number, client in enumerate(clients):
        client.request("GET", "/sse?interval_ms=50" if number % 2 else "/report?mb=500&rate=100000")
        client.read_head()
    harness.wait_until(lambda: stats()["active"] >= 10, 5, "ten active streams")
    for number, client in enumerate(clients):
        client.reset() if number % 3 else client.close()
    harness.wait_until(lambda: stats()["canceled"] >= before["canceled"] + 10, 3, "ten cancels")
    harness.wait_until(lambda: stats()["active"] <= before["active"] + 1, 3, "no active stream")


def test_many_leave_at_once(rig):
    """200 streams, all clients gone: every upstream connection ends, no descriptor is left."""
    def script(conn):
        conn.read_head()
        conn.send(b"HTTP/1.1 200 So\r\nTransfer-Encoding: chunked\r\n\r\n" + wire.chunk(b"x"))
        conn.wait_gone(30)
    upstream = rig.upstream(script)
    gate = rig.gateway(upstream)
    fds = gate.fds()
    clients = [harness.Client(gate.port) for _ in range(200)]
    for client in clients:
        client.request("GET", "/x")
    for client in clients:
        assert client.read_head().status == 200
    for number, client in enumerate(clients):
        client.reset() if number % 2 else client.close()
    harness.wait_until(lambda: all(conn.gone for conn in upstream.connections), 3,
                       "all upstream connections to end")
    harness.wait_until(lambda: gate.fds() <= fds + 8, 3, "the descriptors to be closed")
    assert gate.cpu_share(0.5) < 0.3


def test_client_that_left_between_requests_costs_nothing(rig):
    upstream = rig.upstream(harness.answering(wire.build_response(200, body=b"ok")))
    gate = rig.gateway(upstream, threads=2, settings={"upstream.keepalive": 2})   # at most 4 stay open
    fds = gate.fds()
    for number in range(50):
        client = harness.Client(gate.port)
        client.request("GET", "/x")
        assert client.read_response().status == 200
        client.reset() if number % 2 else client.close()
    harness.wait_until(lambda: gate.fds() <= fds + 6, 3, "the descriptors to be closed")
