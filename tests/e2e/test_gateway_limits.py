# SPDX-License-Identifier: MIT
"""Scarcity: descriptors, memory, connections. Refusals and 503, then recovery; never a spin."""

import select
import socket
import time

import pytest

import harness
import wire

CROWD = 500


class Crowd:
    """Many clients at once that ask and then only look at what has come."""

    def __init__(self, port, count, octets, receive_buffer=None):
        self.sockets = []
        self.got = {}
        self.ended = {}
        for _ in range(count):
            sock = socket.socket()
            if receive_buffer:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            sock.settimeout(5 * harness.SLOW)
            try:
                sock.connect(("127.0.0.1", port))
                sock.sendall(octets)
            except OSError:
                sock.close()
                continue
            sock.setblocking(False)
            self.sockets.append(sock)
            self.got[sock] = b""

    def look(self, seconds, enough=64):
        """Reads the first bytes of each answer."""
        deadline = time.monotonic() + seconds * harness.SLOW
        poll = select.poll()
        by_fd = {sock.fileno(): sock for sock in self.sockets}
        for fd in by_fd:
            poll.register(fd, select.POLLIN)
        while time.monotonic() < deadline and by_fd:
            for fd, _ in poll.poll(100):
                sock = by_fd[fd]
                try:
                    piece = sock.recv(1024)
                except OSError:
                    piece = b""
                self.got[sock] += piece
                if not piece:
                    self.ended[sock] = True
                if not piece or len(self.got[sock]) >= enough:
                    poll.unregister(fd)
                    del by_fd[fd]

    def statuses(self):
        return {octets[9:12].decode() for octets in self.got.values() if octets}

    def close(self):
        for sock in self.sockets:
            sock.close()


def recovers(gate, seconds=15):
    """A plain request is answered with 200 again."""
    def works():
        try:
            response = harness.fetch(gate.port, timeout=2)
        except OSError:
            return False
        return response.complete and response.status == 200
    harness.wait_until(works, seconds, "the gateway to recover")


def quick_or_held(conn):
    """/ is answered at once; /hold gets its head and one byte and then nothing more."""
    while True:
        request = conn.read_request()
        if request is None:
            return
        if request.target == "/":
            conn.send(wire.build_response(200, body=b"ok"))
        else:
            conn.send(b"HTTP/1.1 200 So\r\nContent-Length: 100\r\n\r\nx")
            conn.wait_gone(60)
            return


def test_64_descriptors_and_500_clients(rig):
    gate = rig.gateway(rig.upstream(quick_or_held), nofile=64)
    recovers(gate)
    fds = gate.fds()
    crowd = Crowd(gate.port, CROWD, wire.build_request("GET", "/hold"))
    try:
        crowd.look(4, enough=12)
        assert crowd.statuses() <= {"200", "503"}, crowd.statuses()
        assert gate.is_alive()
        share = gate.cpu_share(1.5)
        assert share < 0.5, f"spins: {share:.2f} of a core while nothing happens"
    finally:
        crowd.close()
    recovers(gate)
    harness.wait_until(lambda: gate.fds() <= fds + 8, 15, "the descriptors to be closed")


def test_64_descriptors_and_a_storm(rig):
    """Connections that come and go faster than they can be served."""
    gate = rig.gateway(rig.upstream(quick_or_held), nofile=64)
    for _ in range(4):
        crowd = Crowd(gate.port, 200, wire.build_request("GET", "/"))
        crowd.look(0.5)
        assert crowd.statuses() <= {"200", "502", "503"}, crowd.statuses()
        crowd.close()
    recovers(gate)


def test_4_mib_of_memory_and_500_clients(rig):
    """Clients that do not read big answers: the budget holds, and is free again afterwards."""
    body = b"x" * 20_000_000

    def script(conn):
        while True:
            request = conn.read_request()
            if request is None:
                return
            conn.send(wire.build_response(200, body=b"ok" if request.target == "/" else body))
    gate = rig.gateway(rig.upstream(script), settings={"limits.memory": "4MiB"})
    recovers(gate)
    fds, rss = gate.fds(), gate.rss()
    crowd = Crowd(gate.port, CROWD, wire.build_request("GET", "/big"), receive_buffer=8192)
    try:
        crowd.look(3, enough=12)
        assert crowd.statuses() <= {"200", "503"}, crowd.statuses()
        assert gate.is_alive()
        if not harness.IS_SANITIZED:
            assert gate.rss() - rss < 48 << 20, f"{gate.rss() - rss} bytes more"
        share = gate.cpu_share(1.5)
        assert share < 0.5, f"spins: {share:.2f} of a core"
    finally:
        crowd.close()
    recovers(gate)
    harness.wait_until(lambda: gate.fds() <= fds + 8, 15, "the descriptors to be closed")


def test_4_mib_of_memory_and_uploads_nobody_reads(rig):
    def script(conn):
        request = conn.read_head()
        if request is not None and request.target == "/":
            conn.send(wire.build_response(200, "Connection: close", body=b"ok"))
        elif request is not None:
            time.sleep(6)
    gate = rig.gateway(rig.upstream(script, receive_buffer=8192),
                       settings={"limits.memory": "4MiB"})
    recovers(gate)
    rss = gate.rss()
    octets = b"POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: 10000000\r\n\r\n" + b"x" * 30_000
    crowd = Crowd(gate.port, 200, octets)
    try:
        crowd.look(1, enough=12)
        assert crowd.statuses() <= {"503", "408"}, crowd.statuses()
        if not harness.IS_SANITIZED:
            assert gate.rss() - rss < 48 << 20
    finally:
        crowd.close()
    recovers(gate)


def test_limit_of_connections(rig):
    gate = rig.gateway(rig.upstream(quick_or_held), settings={"limits.connections": 10},
                       threads=1)
    crowd = Crowd(gate.port, 30, wire.build_request("GET", "/hold"))
    try:
        crowd.look(2, enough=12)
        served = [one for one in crowd.got.values() if one.startswith(b"HTTP/1.1 200")]
        assert len(served) <= 10
        assert len(served) >= 8
        assert crowd.statuses() <= {"200", "503"}
    finally:
        crowd.close()
    recovers(gate)


def test_limit_of_streams(rig):
    gate = rig.gateway(rig.upstream(quick_or_held), settings={"limits.streams": 10}, threads=1)
    crowd = Crowd(gate.port, 30, wire.build_request("GET", "/hold"))
    try:
        crowd.look(2, enough=12)
        statuses = [one[9:12] for one in crowd.got.values()]
        assert statuses.count(b"200") == 10
        assert statuses.count(b"503") == 20
        refused = next(one for one in crowd.got if crowd.got[one][9:12] == b"503")
        refused.setblocking(True)
        refused.settimeout(2 * harness.SLOW)
        text = crowd.got[refused] + refused.recv(4096)
        assert b"retry-after:" in text.lower()
    finally:
        crowd.close()
    recovers(gate)


@pytest.mark.parametrize("threads", [1, 2])
def test_crash_free_churn(rig, threads):
    """Every way to be rude, for a while; then all is as before."""
    upstream = rig.upstream(quick_or_held)
    gate = rig.gateway(upstream, threads=threads, settings={"upstream.keepalive": 4})
    recovers(gate)
    fds = gate.fds()
    rude = [b"", b"GET", b"\0" * 50, wire.build_request("GET", "/"),
            wire.build_request("GET", "/hold"), wire.build_request("GET", "/") * 5,
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc",
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab"]
    for number in range(400):
        client = harness.Client(gate.port)
        client.try_send(rude[number % len(rude)])
        if number % 3 == 0:
            client.try_send(b"")
            client.reset()
        elif number % 3 == 1:
            client.close()
        else:
            client.fin()
            client.close()
    recovers(gate)
    # What stays are the idle connections each thread may keep.
    harness.wait_until(lambda: gate.fds() <= fds + 4 * threads, 10, "the descriptors to be closed")
    assert gate.cpu_share(0.5) < 0.3
