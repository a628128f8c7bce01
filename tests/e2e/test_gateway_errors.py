# SPDX-License-Identifier: MIT
"""What the client sees when the upstream fails before or after the head, and what retries do."""

import concurrent.futures
import json
import re
import subprocess
import threading

import pytest

import harness
import wire

SHORT = {"upstream.timeouts.dial": "300ms", "upstream.timeouts.response_head": "300ms",
         "upstream.timeouts.first_byte": "300ms", "upstream.timeouts.idle": "300ms"}


def check_error(response, status, *tokens):
    """A whole error answer of the gateway's own: RFC 9457 body, RFC 9209 field."""
    assert response.complete, response.error
    assert response.status == status, bytes(response.body)[:300]
    assert response.get("content-type", "").split(";")[0].strip() == "application/problem+json"
    problem = json.loads(bytes(response.body))
    assert problem.get("status", status) == status and problem.get("title"), problem
    said = response.get("proxy-status", "")
    assert "weir" in said and any(f"error={token}" in said for token in tokens), said


def test_refused(rig):
    port = rig.enter(harness.RefusedPort()).port
    gate = rig.gateway(port)
    check_error(harness.fetch(gate.port), 502, "connection_refused")


def test_upstream_by_name(rig):
    """The name is looked up, and it is what the upstream and the log are told."""
    upstream = rig.upstream(harness.answering(wire.build_response(200, body=b"ok")))
    gate = rig.gateway(upstream, host="localhost")
    with harness.Client(gate.port) as client:
        for _ in range(3):
            client.request("GET", "/x")
            response = client.read_response()
            assert (response.status, bytes(response.body)) == (200, b"ok")
        assert gate.log.wait_end(client.peer, count=3)["upstream"] == f"localhost:{upstream.port}"
    assert len(upstream.connections) == 1, "a name's connections are kept as an address's are"


def test_upstream_name_that_is_nobodys(rig):
    """No resolver asks the DNS for .onion (RFC 7686 2): no such name, network or not."""
    gate = rig.gateway(80, host="nobody.onion")
    with harness.Client(gate.port) as client:
        client.request("GET", "/x")
        check_error(client.read_response(), 502, "dns_error")
        record = gate.log.wait_end(client.peer)
    assert (record["outcome"], record["end_by"], record["cause"]) == (
        "upstream_abort", "upstream", "WEIR_ENOTFOUND"), record


def test_refused_with_a_body_on_its_way(rig):
    gate = rig.gateway(rig.enter(harness.RefusedPort()).port)
    check_error(harness.fetch(gate.port, "POST", "/x", body=b"x" * 100_000), 502,
                "connection_refused")


def test_connection_goes_on_after_502(rig):
    gate = rig.gateway(rig.enter(harness.RefusedPort()).port)
    client = rig.client(gate)
    for _ in range(3):
        client.request("GET", "/x")
        response = client.read_response()
        check_error(response, 502, "connection_refused")
        if "close" in response.items_of("connection"):
            break


def test_dial_hangs(rig):
    silent = rig.enter(harness.SilentPort())
    gate = rig.gateway(silent.port, settings=SHORT)
    check_error(harness.fetch(gate.port), 504, "connection_timeout")


@pytest.mark.parametrize("body", [None, b"hello"], ids=["get", "post"])
@pytest.mark.parametrize("status", [504, 408])
def test_head_hangs(rig, status, body):
    upstream = rig.upstream(harness.holding())
    gate = rig.gateway(upstream, settings={**SHORT, "timeout_status": status})
    response = harness.fetch(gate.port, "POST" if body else "GET", "/x", body=body)
    check_error(response, status, "http_response_timeout")
    conn = upstream.wait_connections(1)
    harness.wait_until(lambda: conn.gone, 2, "the upstream connection to end")
    harness.wait_until(gate.log.ends, 5, "the log line")
    assert gate.log.ends()[0]["outcome"] == "upstream_timeout"


def test_head_dribbles(rig):
    """Bytes of a head that never ends do not restart the clock."""
    def script(conn):
        conn.read_head()
        conn.send(b"HTTP/1.1 200 So\r\n")
        for _ in range(200):
            conn.send(b"X-A: b\r\n")
            threading.Event().wait(0.1)
    gate = rig.gateway(rig.upstream(script), settings=SHORT)
    check_error(harness.fetch(gate.port), 504, "http_response_timeout")


@pytest.mark.parametrize("octets", [b"not http at all\r\n\r\n", b"\x15\x03\x01\x00\x02\x02\x28",
                                    b"HTTP/1.1 000 OK\r\n\r\n", b"\0" * 100])
def test_garbage(rig, octets):
    def script(conn):
        conn.read_head()
        conn.send(octets)
        conn.wait_gone()
    upstream = rig.upstream(script)
    gate = rig.gateway(upstream)
    check_error(harness.fetch(gate.port), 502, "http_protocol_error")
    assert len(upstream.requests) == 1, "garbage is no reason to retry"


@pytest.mark.parametrize("how", ["close", "reset"])
def test_ends_without_an_answer(rig, how):
    def script(conn):
        conn.read_head()
        getattr(conn, how)()
    upstream = rig.upstream(script)
    gate = rig.gateway(upstream)
    check_error(harness.fetch(gate.port), 502, "connection_terminated")
    assert len(upstream.requests) == 1, "a fresh connection is not retried"


@pytest.mark.parametrize("clock, sent", [
    ("first_byte", b"HTTP/1.1 200 So\r\nContent-Length: 10\r\n\r\n"),
    ("idle", b"HTTP/1.1 200 So\r\nContent-Length: 10\r\n\r\nhello"),
    ("idle", b"HTTP/1.1 200 So\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"),
    ("idle", b"HTTP/1.1 200 So\r\n\r\nhello")], ids=["first-byte", "length", "chunked", "close"])
def test_body_hangs(rig, clock, sent):
    def script(conn):
        conn.read_head()
        conn.send(sent)
        conn.wait_gone(20)
    upstream = rig.upstream(script)
    gate = rig.gateway(upstream, settings=SHORT)
    client = rig.client(gate)
    client.request("GET", "/x")
    response = client.read_response()
    assert response.broken and response.status == 200, clock
    harness.wait_until(lambda: upstream.connections[0].gone, 2, "the upstream's end")
    record = gate.log.wait_end(client.peer)
    assert (record["outcome"], record["end_by"]) == ("upstream_timeout", "upstream") or (
        record["outcome"], record["end_by"]) == ("upstream_timeout", "weir")


def test_slow_but_alive_is_not_cut(rig):
    """Clocks of 300 ms do not end a stream that says something every 100 ms."""
    def script(conn):
        conn.read_head()
        conn.send(b"HTTP/1.1 200 So\r\nContent-Length: 12\r\n\r\n")
        for _ in range(12):
            conn.send(b"x")
            threading.Event().wait(0.1)
        conn.wait_gone()
    clocks = {key: f"{int(400 * harness.SLOW)}ms" for key in SHORT}
    gate = rig.gateway(rig.upstream(script), settings=clocks)
    response = harness.fetch(gate.port)
    assert response.complete and bytes(response.body) == b"x" * 12


# ---- an upstream that dies at byte k

DYING = {
    "length": wire.build_response(200, "X-A: b", body=b"hello, world"),
    "chunked": wire.build_response(200, "X-A: b", body=b"hello, ", chunked=True)[:-5] +
    wire.chunk(b"world") + wire.last_chunk("X-Sum: 1"),
    "close": wire.build_response(200, "X-A: b") + b"hello, world",
    "interim": b"HTTP/1.1 103 Early\r\n\r\n" + wire.build_response(200, body=b"hello, world"),
    "empty": wire.build_response(200, body=b""),
}


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("kind", sorted(DYING))
def test_upstream_dies_at_every_byte(rig, kind, how):
    octets = DYING[kind]
    head_end = octets.index(b"\r\n\r\n", octets.index(b"200 ")) + 4

    def script(conn):
        request = conn.read_head()
        if request is not None:
            conn.send(octets[:int(request.target[1:])])
            getattr(conn, how)()

    upstream = rig.upstream(script)
    gate = rig.gateway(upstream)

    def one(k):
        response = harness.fetch(gate.port, "GET", f"/{k}", "Connection: close", timeout=20)
        if k == len(octets) and how == "close":
            ok = response.complete and response.status == 200 and (
                bytes(response.body) == (b"" if kind == "empty" else b"hello, world"))
        elif k < head_end:
            ok = response.complete and response.status == 502
        elif kind == "close" and how == "close":
            ok = response.complete and bytes(response.body) == octets[head_end:k]
        elif k == len(octets) and kind != "close":          # all had been sent: either is honest
            ok = True
        else:
            ok = response.broken or (response.complete and response.status == 502)
        return None if ok else f"k={k}: {response}"

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        faults = [fault for fault in pool.map(one, range(len(octets) + 1)) if fault]
    assert not faults, faults[:5]
    assert gate.is_alive()


def test_upstream_killed_in_the_middle_of_much(rig):
    def script(conn):
        conn.read_head()
        conn.send(b"HTTP/1.1 200 So\r\nContent-Length: 10000000\r\n\r\n" + b"x" * 3_000_000)
        conn.reset()
    gate = rig.gateway(rig.upstream(script))
    client = rig.client(gate)
    client.request("GET", "/x")
    response = client.read_response(keep_body=False)
    assert response.broken or response.status == 502
    record = gate.log.wait_end(client.peer)
    assert record["outcome"] == "upstream_abort" and record["end_by"] == "upstream"


def test_nothing_is_appended_to_a_broken_body(rig):
    body = b"a,b\n" * 50_000

    def script(conn):
        conn.read_head()
        conn.send(b"HTTP/1.1 200 So\r\nTransfer-Encoding: chunked\r\n\r\n" + wire.chunk(body))
        threading.Event().wait(0.3)
        conn.close()
    gate = rig.gateway(rig.upstream(script))
    response = harness.fetch(gate.port)
    assert response.broken
    assert bytes(response.body) == body


def test_upstream_sends_more_than_declared(rig):
    def script(conn):
        while conn.read_request() is not None:
            conn.send(wire.build_response(200, body=b"hello") + wire.build_response(
                200, body=b"poison"))
    upstream = rig.upstream(script)
    gate = rig.gateway(upstream)
    client = rig.client(gate)
    for _ in range(5):
        client.request("GET", "/x")
        response = client.read_response()
        assert response.complete and bytes(response.body) == b"hello"
    assert len(upstream.connections) == 5, "none of them may be used again"


def test_unasked_bytes_on_an_idle_connection(rig):
    said = threading.Event()

    def script(conn):
        conn.read_request()
        conn.send(wire.build_response(200, body=b"hello"))
        if len(upstream.connections) == 1:
            threading.Event().wait(0.3)
            conn.send(wire.build_response(200, body=b"poison"))
            said.set()
        while conn.read_request() is not None:
            conn.send(wire.build_response(200, body=b"hello"))
    upstream = rig.upstream(script)
    gate = rig.gateway(upstream)
    client = rig.client(gate)
    client.request("GET", "/x")
    assert bytes(client.read_response().body) == b"hello"
    assert said.wait(10)
    client.request("GET", "/y")
    assert bytes(client.read_response().body) == b"hello"
    assert len(upstream.connections) == 2


# ---- retries: only a stale pooled connection, idempotent, nothing forwarded

def stale_script(last_words=b"", how="close"):
    """The first request of the first connection is answered, its second one is dropped."""
    def script(conn):
        is_first = conn.upstream.connections[0] is conn
        conn.read_request()
        conn.send(wire.build_response(200, body=b"first" if is_first else b"again"))
        if is_first:
            if conn.read_head() is not None:
                conn.send(last_words)
                getattr(conn, how)()
            return
        while conn.read_request() is not None:
            conn.send(wire.build_response(200, body=b"again"))
    return script


def ask_twice(rig, script, method, **kw):
    upstream = rig.upstream(script)
    gate = rig.gateway(upstream)
    client = rig.client(gate)
    client.request("GET", "/first")
    assert bytes(client.read_response().body) == b"first"
    client.request(method, "/second", **kw)
    return upstream, client.read_response(method)


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_stale_connection_is_retried(rig, method, how):
    upstream, response = ask_twice(rig, stale_script(how=how), method)
    assert response.status == 200 and response.complete
    assert [one.target for one in upstream.requests] == ["/first", "/second", "/second"]


@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_no_retry_of_what_is_not_idempotent(rig, method):
    upstream, response = ask_twice(rig, stale_script(), method, body=b"hello")
    assert response.status == 502 and response.complete
    assert [one.target for one in upstream.requests] == ["/first", "/second"]


def test_no_retry_after_a_byte_of_an_answer(rig):
    upstream, response = ask_twice(rig, stale_script(last_words=b"H"), "GET")
    assert response.status == 502
    assert [one.target for one in upstream.requests] == ["/first", "/second"]


def test_no_retry_without_end(rig):
    """Every pooled connection is stale: one retry on a fresh one, and its failure is final."""
    def script(conn):
        if conn.upstream.connections[0] is conn:
            conn.read_request()
            conn.send(wire.build_response(200, body=b"first"))
        conn.read_head()
        conn.close()
    upstream, response = ask_twice(rig, script, "GET")
    assert response.status == 502
    assert [one.target for one in upstream.requests] == ["/first", "/second", "/second"]


@pytest.mark.parametrize("how", ["close", "reset"])
def test_idle_connection_that_ended_is_not_used(rig, how):
    """A FIN or RST seen while pooled: even a POST goes to a fresh connection."""
    ended = threading.Event()

    def script(conn):
        request = conn.read_request()
        conn.send(wire.build_response(200, body=request.target.encode()))
        getattr(conn, how)() if request.target == "/first" else conn.wait_gone()
        ended.set()
    upstream = rig.upstream(script)
    gate = rig.gateway(upstream)
    client = rig.client(gate)
    client.request("GET", "/first")
    response = client.read_response()
    if how == "reset" and not response.complete:
        pytest.skip("the reset overtook the answer")
    assert ended.wait(5)
    threading.Event().wait(0.2)
    client.request("POST", "/second", body=b"hello")
    assert bytes(client.read_response().body) == b"/second"


def test_max_connections(rig):
    """Never more than that at once; whoever has to wait is answered in the end, or told 503."""
    def script(conn):
        while conn.read_request() is not None:
            threading.Event().wait(0.05)
            conn.send(wire.build_response(200, body=b"ok"))
    upstream = rig.upstream(script)
    gate = rig.gateway(upstream, settings={"upstream.max_connections": 3}, threads=1)
    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: harness.fetch(gate.port, timeout=20), range(40)))
    assert {one.status for one in answers} <= {200, 503}
    assert sum(1 for one in answers if one.status == 200) >= 3
    assert upstream.most_live <= 3


def test_unknown_settings_are_named(rig):
    with pytest.raises(AssertionError) as failure:
        harness.gateway(1, settings={"upstream.timeouts.dail": "1s"})
    assert "upstream.timeouts.dial" in str(failure.value), "the nearest valid key"


@pytest.mark.parametrize("key, value", [
    ("upstream.timeouts.dial", "soon"), ("upstream.timeouts.dial", "-1s"), ("limits.memory", "4"
     "XiB"), ("half_close", "maybe"), ("timeout_status", "200"), ("limits.connections", "many")])
def test_bad_values_are_errors(rig, key, value):
    with pytest.raises(AssertionError) as failure:
        harness.gateway(1, settings={key: value})
    assert "before it listened" in str(failure.value) and key in str(failure.value)


def help_of_settings():
    """{key: the lines under it} of `weir proxy --help-settings`."""
    text = subprocess.run([harness.BUILD / "cli" / "weir", "proxy", "--help-settings"],
                          capture_output=True, text=True, timeout=30, check=True).stdout
    return {key: block for key, block in re.findall(r"^  ([a-z_.]+)=.*\n((?:      .*\n)+)", text, re.M)}


def test_documented_bounds_are_taken(rig):
    """Every setting at its least, at its most and at 0: the gateway runs with what its help allows."""
    upstream = rig.upstream(harness.answering(wire.build_response(200, body=b"ok")))
    ends = {"least": {}, "most": {}, "zero": {}}
    for key, block in help_of_settings().items():
        span = re.search(r"from (\S+) to ([^\s,]+)|at least ([^\s,]+)", block)
        if span:
            ends["least"][key] = span[1] or span[3]
            ends["most"][key] = span[2] or 2**63 - 1
        if " 0 for: " in block:
            ends["zero"][key] = 0
    assert len(ends["most"]) > 25 and len(ends["zero"]) > 10, ends
    for key in [one for one in ends["least"] if ".timeouts." in one]:
        ends["least"][key] = "1s"                       # within 1ms nobody gets an answer
    for name, settings in ends.items():
        gate = rig.gateway(upstream, settings=settings)
        assert harness.fetch(gate.port).status == 200, name


@pytest.mark.parametrize("key, value, span", [
    ("forward.fast_chunk", "1025KiB", "4KiB to 1MiB"), ("limits.head_bytes", "513KiB", "1KiB to 512KiB"),
    ("limits.upstream_head_bytes", "1MiB", "1KiB to 512KiB"), ("limits.fields", "1001", "8 to 1000")])
def test_values_out_of_bounds_are_named(rig, key, value, span):
    with pytest.raises(AssertionError) as failure:
        harness.gateway(1, settings={key: value})
    assert f'{key}: "{value}" is out of range; it must be from {span}' in str(failure.value)
