# SPDX-License-Identifier: MIT
"""Big bodies stream through with flat memory, whatever their framing on the wire."""

import hashlib
import threading
import time

import pytest

import harness
import wire

MIB = 1 << 20


class Sampler:
    """The highest RSS of a program while a block runs."""

    def __init__(self, program):
        self.program = program
        self.base = program.rss()
        self.most = self.base
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self):
        while not self._done.wait(0.02):
            self.most = max(self.most, self.program.rss())

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._done.set()
        self._thread.join()

    @property
    def growth(self):
        return self.most - self.base


def check_flat(sampler, limit=12 * MIB):
    if not harness.IS_SANITIZED:
        assert sampler.growth < limit, f"RSS grew by {sampler.growth / MIB:.1f} MiB"


def test_one_chunk_of_64_mb(origin, rig):
    """One single chunk arrives in pieces: delivery is never tied to the framing of the wire."""
    gate = rig.gateway(origin.port)
    client = rig.client(gate, timeout=60)
    with Sampler(gate) as sampler:
        client.request("GET", "/mega?mb=64")
        head = client.read_head()
        assert head.status == 200 and head.framing == "chunked"
        client.read_more(lambda response: response.body_bytes > 0, keep_body=False)
        assert head.body_bytes < 16 * MIB, "the first bytes come first"
        time.sleep(0.5)
        response = client.read_response(keep_body=False)
    assert response.complete, response.error
    assert response.body_bytes in (64 * MIB, 64_000_000)
    check_flat(sampler)


@pytest.mark.parametrize("query", ["mb=64", "mb=64&chunked=1"])
def test_report_is_the_same_as_at_the_origin(origin, rig, query):
    gate = rig.gateway(origin)

    def digest(port):
        with harness.Client(port, 60) as client:
            client.request("GET", f"/report?{query}")
            head = client.read_head()
            digester, taken = hashlib.sha256(), 0
            while not client.is_answered:
                client.read_more(lambda response: len(response.body) > 1 * MIB)
                digester.update(head.body)
                taken += len(head.body)
                head.body.clear()
            assert head.complete, head.error
            return digester.hexdigest(), taken, head.framing
    with Sampler(gate) as sampler:
        through = digest(gate.port)
    assert through == digest(origin.port)
    check_flat(sampler)


def test_upload_of_64_mb(origin, rig):
    gate = rig.gateway(origin)
    client = rig.client(gate, timeout=60)
    piece = bytes(range(256)) * 4096
    with Sampler(gate) as sampler:
        client.send(b"PUT /upload HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (64 * MIB))
        digester = hashlib.sha256()
        for _ in range(64):
            client.send(piece)
            digester.update(piece)
        response = client.read_response()
    assert response.status == 200 and digester.hexdigest().encode() in response.body
    check_flat(sampler)


def test_fifty_clients_that_do_not_read(origin, rig):
    gate = rig.gateway(origin)
    harness.fetch(gate.port, "GET", "/stats")
    with Sampler(gate) as sampler:
        clients = [rig.client(gate, receive_buffer=32768) for _ in range(50)]
        for client in clients:
            client.request("GET", "/report?mb=50")
        for client in clients:
            assert client.read_head().status == 200
        time.sleep(1)
        share = gate.cpu_share(0.5)
    assert share < 0.3, "spins on blocked clients"
    check_flat(sampler, 24 * MIB)


def test_a_stream_resumes_at_full_speed(origin, rig):
    gate = rig.gateway(origin)
    client = rig.client(gate, timeout=60)
    client.request("GET", "/report?mb=100")
    client.read_head()
    time.sleep(1)
    start = time.monotonic()
    response = client.read_response(keep_body=False)
    assert response.complete
    assert time.monotonic() - start < 10 * harness.SLOW


def test_events_are_not_held(origin, rig):
    gate = rig.gateway(origin)
    client = rig.client(gate)
    client.request("GET", "/sse?interval_ms=20&count=30")
    head = client.read_head()
    assert head.get("content-type", "").startswith("text/event-stream")
    start = time.monotonic()
    response = client.read_response()
    assert response.complete
    assert response.body.count(b"\n\n") >= 30
    assert time.monotonic() - start < 5 * harness.SLOW


def test_shaped_report_keeps_its_rate(origin, rig):
    """rate= at the origin: the gateway neither hurries nor delays it."""
    gate = rig.gateway(origin)
    client = rig.client(gate, timeout=30)
    start = time.monotonic()
    client.request("GET", "/report?mb=1&rate=1000000")
    response = client.read_response(keep_body=False)
    assert response.complete
    assert 0.4 < time.monotonic() - start < 5 * harness.SLOW


def test_bytes_at_every_split(rig):
    """An upstream that sends a byte at a time, a client that gets the very same bytes."""
    body = bytes(range(256)) * 8
    octets = b"HTTP/1.1 200 So\r\nTransfer-Encoding: chunked\r\n\r\n" + b"".join(
        wire.chunk(body[at:at + 100]) for at in range(0, len(body), 100)) + wire.last_chunk()

    def script(conn):
        while conn.read_request() is not None:
            conn.send_bytewise(octets)
    gate = rig.gateway(rig.upstream(script))
    client = rig.client(gate)
    for _ in range(3):
        client.request("GET", "/x")
        response = client.read_response()
        assert response.complete and bytes(response.body) == body


@pytest.mark.slow
def test_one_chunk_over_4_gib(rig):
    """One chunk-size line for more than 32 bits can count; then a chunk more, and the end."""
    total = (1 << 32) + 5

    def script(conn):
        conn.read_head()
        conn.send(b"HTTP/1.1 200 So\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % total)
        conn.flood(bytes(1 << 20), 4096)
        conn.send(bytes(5) + b"\r\n" + wire.chunk(b"end") + wire.last_chunk())
        conn.wait_gone()
    gate = rig.gateway(rig.upstream(script))
    client = rig.client(gate, timeout=60)
    client.request("GET", "/x")
    response = client.read_response(keep_body=False)
    assert response.complete and response.body_bytes == total + 3
    record = gate.log.wait_end(client.peer)
    assert record["outcome"] == "complete"
    assert total <= record["bytes"]["upstream_rx"] < total + 1000
    assert total <= record["bytes"]["client_tx"] < total * 1.01
    if not harness.IS_SANITIZED:
        assert gate.rss() < 64 << 20
