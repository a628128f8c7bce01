# SPDX-License-Identifier: MIT
"""One record tells who did what, for how long, and whose fault a stall was."""

import hashlib
import threading
import time

import pytest

import harness
import wire

KEYS = ("id", "route", "peer", "upstream", "status", "outcome", "bytes")


def one_exchange(rig, script, method="GET", target="/x", settings=None, read=True, **kw):
    upstream = rig.upstream(script)
    gate = rig.gateway(upstream, settings=settings)
    client = rig.client(gate, timeout=30)
    client.request(method, target, **kw)
    if read:
        client.read_response(method, keep_body=False)
    return gate, client, upstream


def test_a_complete_exchange(rig):
    gate, client, upstream = one_exchange(
        rig, harness.answering(wire.build_response(201, body=b"y" * 12345)), "POST",
        body=b"x" * 54321)
    record = gate.log.wait_end(client.peer)
    for key in KEYS:
        assert record.get(key) not in (None, ""), f"{key} in {record}"
    assert record["status"] == 201
    assert record["outcome"] == "complete"
    assert str(upstream.port) in str(record["upstream"])
    for name, body in (("client_rx", 54321), ("upstream_tx", 54321), ("upstream_rx", 12345),
                       ("client_tx", 12345)):
        assert body <= record["bytes"][name] < body + 2000, f"{name} in {record}"
    assert "end_by" in record
    for phase in ("dial", "response_head", "first_byte", "total"):
        assert record["phase_ms"][phase] >= 0, record
    harness.check_stalls(record)


def test_ids_differ(rig):
    upstream = rig.upstream(harness.answering(wire.build_response(200, body=b"ok")))
    gate = rig.gateway(upstream)
    client = rig.client(gate)
    for _ in range(20):
        client.request("GET", "/x")
        client.read_response()
    harness.wait_until(lambda: len(gate.log.ends()) == 20, 5, "20 lines")
    assert len({record["id"] for record in gate.log.ends()}) == 20


@pytest.mark.parametrize("octets, status", [(b"BAD\r\n\r\n", 400), (
    wire.build_request("GET", "/" + "x" * 9000), 414)])
def test_protocol_errors_are_logged(rig, octets, status):
    gate = rig.gateway(rig.upstream(harness.holding()))
    client = rig.client(gate)
    client.send(octets)
    assert client.read_response().status == status
    record = gate.log.wait_end(client.peer)
    assert record["status"] == status
    assert record["outcome"] in ("protocol_error", "limit")


@pytest.mark.parametrize("field, target, status", [
    ("X-Other: x", "/free", 401), ("X-Api-Key: wrong", "/free", 401),
    ("X-Api-Key: the-key", "/elsewhere", 403)], ids=["none", "unknown", "elsewhere"])
def test_who_may_not_is_denied(rig, field, target, status):
    upstream = rig.upstream(harness.answering(wire.build_response(200, body=b"ok")))
    gate = rig.gateway(upstream, keys=f"one {hashlib.sha256(b'the-key').hexdigest()} prefix=/free\n")
    client = rig.client(gate)
    client.request("GET", target, field)
    assert client.read_response().status == status
    record = gate.log.wait_end(client.peer)
    assert (record["status"], record["outcome"], record["end_by"], record["cause"]) == (
        status, "denied", "weir", "WEIR_EREFUSED"), record
    assert record["key"] == ("one" if status == 403 else None)
    assert record["proxy_error"] == "http_request_denied"
    assert record["bytes"]["upstream_tx"] == 0 and not upstream.connections
    client.request("GET", "/free", "X-Api-Key: the-key")
    assert client.read_response().status == 200
    assert gate.log.wait_end(client.peer, count=2)["outcome"] == "complete"


@pytest.mark.parametrize("limit", ["limits.connections", "limits.streams",
                                   "upstream.max_connections"])
def test_over_a_limit_is_refused(rig, limit):
    """Nothing is tried for what finds no room; the one that has it is not touched."""
    done = threading.Event()

    def script(conn):
        conn.read_head()
        conn.send(b"HTTP/1.1 200 So\r\nContent-Length: 5\r\n\r\nhe")
        done.wait(10 * harness.SLOW)
        conn.send(b"llo")
        conn.wait_gone()
    upstream = rig.upstream(script)
    gate = rig.gateway(upstream, threads=1, settings={limit: 1, "upstream.timeouts.dial": "300ms"})
    first, second = rig.client(gate), None
    first.request("GET", "/x")
    first.read_head()
    second = rig.client(gate)
    second.try_send(wire.build_request("GET", "/y"))
    assert second.read_response().status == 503
    record = gate.log.wait_end(second.peer)
    assert (record["status"], record["outcome"], record["end_by"]) == (
        503, "refused", "weir"), record
    assert record["bytes"]["upstream_tx"] == 0 and len(upstream.connections) == 1
    done.set()
    assert first.read_response().complete
    assert gate.log.wait_end(first.peer)["outcome"] == "complete"


def test_truncation_is_an_upstream_abort(rig):
    def script(conn):
        conn.read_head()
        conn.send(b"HTTP/1.1 200 So\r\nContent-Length: 10\r\n\r\nhello")
        conn.close()
    gate, client, _ = one_exchange(rig, script)
    record = gate.log.wait_end(client.peer)
    assert (record["status"], record["outcome"], record["end_by"]) == (
        200, "upstream_abort", "upstream")
    harness.check_stalls(record)


def test_nothing_secret_in_the_log(rig):
    gate = rig.gateway(rig.upstream(harness.answering(wire.build_response(200, body=b"ok"))),
                       keys="k " + "0" * 64 + "\n")
    client = rig.client(gate)
    client.request("GET", "/x", "X-Api-Key: hush-hush", "Authorization: Bearer hush-too")
    client.read_response()
    gate.log.wait_end(client.peer)
    assert "hush" not in gate.log.path.read_text()


def test_hostile_text_is_escaped(rig):
    """Whatever a peer sends, each record stays one line of JSON."""
    gate = rig.gateway(rig.upstream(harness.answering(wire.build_response(200, body=b"ok"))))
    client = rig.client(gate)
    client.request("GET", "/%0a%22\"'<{}>\\x", "User-Agent: \"}\xff\x80\t{", "Referer: \\\"")
    client.read_response()
    client.close()
    assert harness.wait_until(gate.log.records, 5)


def states_of(record, word):
    """The ms of every state downstream whose name has the word in it."""
    return sum(value for name, value in record["stall_ms"]["down"].items() if word in name)


def test_a_slow_upstream_is_the_upstreams_stall(rig):
    def script(conn):
        conn.read_head()
        conn.send(b"HTTP/1.1 200 So\r\nContent-Length: 10\r\n\r\nhello")
        time.sleep(1.0)
        conn.send(b"world")
        conn.wait_gone()
    gate, client, _ = one_exchange(rig, script)
    record = gate.log.wait_end(client.peer)
    harness.check_stalls(record)
    assert states_of(record, "upstream") >= 800
    assert states_of(record, "socket") < 500 * harness.SLOW


def test_a_slow_client_is_the_clients_stall(rig):
    total = 40_000_000

    def script(conn):
        conn.read_head()
        conn.send(b"HTTP/1.1 200 So\r\nContent-Length: %d\r\n\r\n" % total)
        conn.send(b"x" * total)
        conn.wait_gone()
    gate, client, _ = one_exchange(rig, script, read=False)
    client.read_head()
    time.sleep(1.5)
    assert client.read_response(keep_body=False).complete
    record = gate.log.wait_end(client.peer)
    harness.check_stalls(record)
    assert states_of(record, "socket") >= 900


def test_live_streams_are_logged(rig):
    done = threading.Event()

    def script(conn):
        conn.read_head()
        conn.send(b"HTTP/1.1 200 So\r\nTransfer-Encoding: chunked\r\n\r\n")
        while not done.wait(0.05):
            conn.send(wire.chunk(b"x" * 100))
        conn.send(wire.last_chunk())
        conn.wait_gone()
    gate, client, _ = one_exchange(rig, script, settings={"access_log_every": "1s"}, read=False)
    client.read_head()

    def live():
        return [record for record in gate.log.records()
                if record.get("peer") == client.peer and not harness.is_end(record)]
    harness.wait_until(lambda: len(live()) >= 3, 10, "three lines of the live stream")
    counts = [record["bytes"]["client_tx"] for record in live()]
    assert counts == sorted(counts) and counts[-1] > counts[0], counts
    done.set()
    assert client.read_response().complete
    record = gate.log.wait_end(client.peer)
    assert record["outcome"] == "complete"
    assert record["id"] == live()[0]["id"]
    harness.check_stalls(record)


def test_log_goes_to_a_standard_stream_by_default(rig):
    gate = rig.gateway(rig.upstream(harness.answering(wire.build_response(200, body=b"ok"))),
                       log=False)
    harness.fetch(gate.port)
    line = harness.wait_until(
        lambda: [one for one in gate.stderr().split("\n") + gate.lines
                 if one.startswith("{")], 5)[0]
    assert '"complete"' in line
