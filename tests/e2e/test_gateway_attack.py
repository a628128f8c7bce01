# SPDX-License-Identifier: MIT
"""Brute force: processes that die by SIGKILL, mutated messages on both sides, load. Afterwards the gateway serves, holds
no descriptor too many and rests. The seed of a run is in its failure; WEIR_TEST_SEED sets it."""

import concurrent.futures
import json
import os
import random
import re
import socket
import subprocess
import time

import pytest

import harness
import wire
from test_gateway_limits import recovers

SEED = int(os.environ.get("WEIR_TEST_SEED") or random.randrange(1 << 32))
KEPT = 4                                            # idle upstream connections a thread may keep
THREADS = 2


def calm(gate, fds):
    """As before the attack: nothing open but what may be kept, nothing running, 200 for who asks."""
    recovers(gate)
    harness.wait_until(lambda: gate.fds() <= fds + KEPT * THREADS, 15, "the descriptors to be closed")
    share = gate.cpu_share(0.5)
    assert share < 0.3, f"spins: {share:.2f} of a core"


def start(rig, to, **settings):
    gate = rig.gateway(to, threads=THREADS, settings={"upstream.keepalive": KEPT, **settings})
    return gate, gate.fds()


# ---- who dies by SIGKILL in the middle of a stream

def test_the_upstream_is_killed(rig):
    for _ in range(3):
        origin = harness.example("report_origin")
        try:
            gate, fds = start(rig, origin)
            clients = [rig.client(gate, timeout=20) for _ in range(20)]
            for number, client in enumerate(clients):
                framing = "" if number % 2 else "&chunked=1"
                client.request("GET", f"/report?mb=300&rate=2000000{framing}")
                client.read_head()
            origin.process.kill()
            for client in clients:
                assert client.read_response(keep_body=False).broken
            for client in clients:
                record = gate.log.wait_end(client.peer)
                assert record["outcome"] == "upstream_abort", record
                client.close()
            assert harness.fetch(gate.port).status == 502
            harness.wait_until(lambda: gate.fds() <= fds, 10, "the descriptors to be closed")
            assert gate.cpu_share(0.3) < 0.3
        finally:
            origin.kill()


def test_the_gateway_is_killed(rig, origin):
    gate = rig.gateway(origin, managed=False)
    fds = origin.fds()
    clients = [rig.client(gate, timeout=20) for _ in range(20)]
    for client in clients:
        client.request("GET", "/report?mb=300&rate=2000000")
        client.read_head()
    gate.process.kill()
    for client in clients:
        assert client.read_response(keep_body=False).broken
    harness.wait_until(lambda: origin.fds() <= fds, 10, "the origin's descriptors to be closed")
    assert origin.cpu_share(0.3) < 0.3


def test_clients_are_killed(rig, origin):
    def stats():
        return json.loads(bytes(harness.fetch(origin.port, "GET", "/stats").body))
    gate, fds = start(rig, origin)
    before = stats()
    curls = [subprocess.Popen(["curl", "-s", "-o", "/dev/null",
                               f"http://127.0.0.1:{gate.port}/report?mb=300&rate=2000000"])
             for _ in range(10)]
    try:
        harness.wait_until(lambda: stats()["active"] >= before["active"] + 10, 10, "ten streams")
    finally:
        for curl in curls:
            curl.kill()
            curl.wait()
    harness.wait_until(lambda: stats()["canceled"] >= before["canceled"] + 10, 5, "ten cancels")
    harness.wait_until(lambda: gate.fds() <= fds + KEPT * THREADS, 10, "the descriptors to be closed")


# ---- garbage

REQUESTS = [wire.build_request("GET", "/a?b=c", "X-Y: z"),
            wire.build_request("POST", "/up", body=b"hello, world"),
            wire.build_request("PUT", "/up", body=b"hello, world", chunked=True, trailers=("X-T: 1",)),
            wire.build_request("GET", "/1") + wire.build_request("DELETE", "/2"),
            wire.build_request("POST", "/e", "Expect: 100-continue", body=b"0123456789")]
ANSWERS = [wire.build_response(200, "X-A: b", body=b"hello, world"),
           wire.build_response(200, body=b"hello, world", chunked=True, trailers=("X-T: 1",)),
           b"HTTP/1.1 103 Early\r\nLink: <x>\r\n\r\n" + wire.build_response(404, body=b""),
           wire.build_response(200, "Connection: close") + b"until the end",
           wire.build_response(204)]
PIECES = [b"\0", b"\r", b"\n", b"\r\n", b"\r\n\r\n", b" ", b":", b"\xff", b"0", b"-1", b"ffffffffffffffff", b"\t",
          b"Transfer-Encoding: chunked\r\n", b"Content-Length: 7\r\n", b"HTTP/1.1 ", b"x" * 5000, b"%00", b";"]


def mutated(chance, octets):
    """The octets with one to four random edits."""
    for _ in range(chance.randrange(1, 5)):
        at, size = chance.randrange(len(octets) + 1), chance.randrange(1, 20)
        edit = chance.randrange(5)
        if edit == 0:
            octets = octets[:at] + octets[at + size:]
        elif edit == 1:
            octets = octets[:at] + chance.choice(PIECES) + octets[at:]
        elif edit == 2:
            octets = octets[:at] + chance.randbytes(size) + octets[at + size:]
        elif edit == 3:
            octets = octets[:at] + octets[at:at + size] * 2 + octets[at + size:]
        else:
            octets = octets[:at]
    return octets


def send_in_pieces(chance, send, octets):
    while octets:
        size = chance.choice((1, 7, len(octets)))
        send(octets[:size])
        octets = octets[size:]


def check_answers(octets):
    """Whatever a client was sent is HTTP as far as it goes."""
    for answer in wire.parse_answers(octets, True, ("GET",) * 8):
        assert answer.error is None or answer.error.startswith(("ended", "reset")), answer


def read_all(sock):
    octets = b""
    try:
        while piece := sock.recv(1 << 16):
            octets += piece
    except OSError:
        pass
    return octets


def rude_client(port, seed, until):
    chance = random.Random(seed)
    count = 0
    while time.monotonic() < until:
        count += 1
        with socket.socket() as sock:
            sock.settimeout(10 * harness.SLOW)
            sock.connect(("127.0.0.1", port))
            try:
                send_in_pieces(chance, sock.sendall, mutated(chance, chance.choice(REQUESTS)))
                if chance.randrange(8) == 0:
                    harness.set_reset_on_close(sock)
                    continue
                sock.shutdown(socket.SHUT_WR)
            except OSError:
                pass
            check_answers(read_all(sock))
    return count


def seconds_of(request):
    return float(os.environ.get("WEIR_TEST_GARBAGE_SECONDS") or request)


polite = harness.answering(wire.build_response(200, body=b"hello"))


def storm(gate, seconds, one):
    """`one(seed, until)` in four threads at once; how often it went round in all."""
    until = time.monotonic() + seconds
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        return sum(pool.map(lambda number: one(SEED + number, until), range(4)))


def test_garbage_from_clients(rig):
    gate, fds = start(rig, rig.upstream(polite))
    count = storm(gate, seconds_of(5), lambda seed, until: rude_client(gate.port, seed, until))
    assert count > 20 and gate.is_alive(), f"seed {SEED}"
    calm(gate, fds)


def test_garbage_from_upstreams(rig):
    numbers = iter(range(1 << 62))

    def script(conn):
        chance = random.Random(SEED + next(numbers))
        while True:
            request = conn.read_request()
            if request is None:
                return
            if request.target == "/":
                conn.send(wire.build_response(200, body=b"ok"))
                continue
            send_in_pieces(chance, conn.send, mutated(chance, chance.choice(ANSWERS)))
            if chance.randrange(3) == 0:
                conn.reset()
                return
            if chance.randrange(2) == 0:
                conn.fin()

    def one(seed, until):
        count = 0
        while time.monotonic() < until:
            count += 1
            with harness.Client(gate.port, 10) as client:
                client.request(("GET", "HEAD")[count % 5 == 0], "/x", "Connection: close")
                answer = client.read_response(("GET", "HEAD")[count % 5 == 0], timeout=20)
                # Broken is fine, garbage is not.
                assert answer.error is None or answer.error.startswith(("ended", "reset")), answer
        return count

    # An answer that lacks bytes while its connection stays open is ended by the clocks.
    gate, fds = start(rig, rig.upstream(script), **{
        "upstream.timeouts.response_head": "300ms", "upstream.timeouts.first_byte": "300ms",
        "upstream.timeouts.idle": "300ms"})
    count = storm(gate, seconds_of(5), one)
    assert count > 20 and gate.is_alive(), f"seed {SEED}"
    calm(gate, fds)


@pytest.mark.parametrize("octets", REQUESTS[:3], ids=["get", "length", "chunked"])
def test_a_wrong_byte_at_every_place(rig, octets):
    gate, fds = start(rig, rig.upstream(polite))
    cases = [octets[:at] + bad + octets[at:] for at in range(len(octets) + 1)
             for bad in (b"\0", b"\r", b"\n", b" ", b"\xff")]

    def one(case):
        with socket.create_connection(("127.0.0.1", gate.port), 10 * harness.SLOW) as sock:
            try:
                sock.sendall(case)
                sock.shutdown(socket.SHUT_WR)
            except OSError:
                pass
            check_answers(read_all(sock))

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(one, cases))
    calm(gate, fds)


# ---- load

@pytest.mark.parametrize("place", ["server", "gateway"])
@pytest.mark.parametrize("path", ["/", "/big?n=100000"])
def test_load(rig, hello, place, path):
    program = hello if place == "server" else start(rig, hello)[0]
    text = subprocess.run(["wrk", "-t1", "-c64", "-d2s", "--timeout", "10s",
                           f"http://127.0.0.1:{program.port}{path}"],
                          capture_output=True, text=True, timeout=60, check=True).stdout
    assert "Socket errors" not in text and "Non-2xx" not in text, text
    assert int(re.search(r"(\d+) requests in", text).group(1)) > 50, text
    assert program.cpu_share(0.5) < 0.3
