# SPDX-License-Identifier: MIT
"""Answers that come before the request has ended, expectations, and the bounded drain."""

import threading
import time

import pytest

import harness
import wire


def send_in_background(client, octets):
    thread = threading.Thread(target=client.try_send, args=(octets,), daemon=True)
    thread.start()
    return thread


@pytest.mark.parametrize("status", [200, 302, 401, 413, 500])
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_upstream_answers_while_the_upload_goes_on(rig, status, chunked):
    """The client, busy sending 50 MB that nobody wants, can read the answer."""
    def script(conn):
        conn.read_head()
        conn.some()
        conn.send(wire.build_response(status, "Connection: close", body=b"enough"))
        conn.fin()
        conn.wait_gone(20)
    gate = rig.gateway(rig.upstream(script))
    client = rig.client(gate, timeout=20)
    body = b"x" * 1_000_000
    if chunked:
        head = b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        rest = wire.chunk(body) * 50 + wire.last_chunk()
    else:
        head = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 50000000\r\n\r\n"
        rest = body * 50
    client.send(head)
    send_in_background(client, rest)
    response = client.read_response()
    assert response.status == status and response.complete, response.error
    assert bytes(response.body) == b"enough"


def test_upstream_answers_and_closes_with_a_reset(rig):
    """EPIPE on the upstream's side means: go and read the answer; not 502."""
    def script(conn):
        conn.read_head()
        conn.send(wire.build_response(413, "Connection: close", body=b"too much"))
        conn.close()                                # unread bytes behind: a reset follows
    gate = rig.gateway(rig.upstream(script))
    good = 0
    for _ in range(10):
        with harness.Client(gate.port) as client:
            client.send(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5000000\r\n\r\n")
            send_in_background(client, b"x" * 5_000_000)
            response = client.read_response()
            assert response.status in (413, 502) and response.complete
            good += response.status == 413
    assert good >= 7, f"{good} of 10 answers reached the client"


def test_early_answer_streams_on(rig):
    """A long early answer and a long upload at the same time (an echo that does not wait)."""
    def script(conn):
        conn.read_head()
        conn.send(b"HTTP/1.1 200 So\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(100):
            conn.send(wire.chunk(conn.exactly(10_000)))
        conn.send(wire.last_chunk())
        conn.wait_gone()
    gate = rig.gateway(rig.upstream(script))
    client = rig.client(gate, timeout=20)
    client.send(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n")
    send_in_background(client, b"y" * 1_000_000)
    response = client.read_response()
    assert response.complete and bytes(response.body) == b"y" * 1_000_000


@pytest.mark.parametrize("sent", ["length", "chunked"])
def test_early_413_is_readable(rig, sent):
    """The gateway's own limit: 413 arrives whole, however much the client still sends."""
    upstream = rig.upstream(harness.holding())
    gate = rig.gateway(upstream, settings={"limits.body_bytes": "1MiB"})
    for _ in range(10):
        with harness.Client(gate.port, 20) as client:
            if sent == "length":
                client.send(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 20000000\r\n\r\n")
                body = b"x" * 20_000_000
            else:
                client.send(b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
                body = wire.chunk(b"x" * 100_000) * 200
            thread = send_in_background(client, body)
            response = client.read_response()
            assert response.status == 413 and response.complete, response.error
            client.close()
            thread.join(5)
    if sent == "length":
        assert not upstream.connections, "a declared length is judged before the dial"


def test_drain_is_bounded_in_bytes(rig):
    gate = rig.gateway(rig.upstream(harness.holding()), settings={
        "limits.body_bytes": "1KiB", "drain.bytes": "64KiB", "drain.time": "60s"})
    client = rig.client(gate, timeout=20)
    client.send(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n")
    assert client.read_response().status == 413
    sent = 0
    piece = b"x" * 65536
    while sent < 100_000_000 and client.try_send(piece):
        sent += len(piece)
    assert sent < 50_000_000, "the gateway swallowed it all"


def test_drain_is_bounded_in_time(rig):
    gate = rig.gateway(rig.upstream(harness.holding()), settings={
        "limits.body_bytes": "1KiB", "drain.bytes": "100MiB", "drain.time": "500ms"})
    client = rig.client(gate)
    client.send(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n")
    assert client.read_response().status == 413
    fds = gate.fds()
    start = time.monotonic()

    def is_cut():
        return not client.try_send(b"x")
    harness.wait_until(is_cut, 10, "the connection to be cut")
    assert time.monotonic() - start >= 0.2, "nothing was drained at all"
    assert gate.fds() <= fds


def test_short_rest_is_drained_and_the_connection_used_again(rig):
    """An early answer to a request whose body is nearly there does not cost the connection."""
    upstream = rig.upstream(harness.answering(wire.build_response(200, body=b"ok")))
    gate = rig.gateway(upstream, keys="k " + "0" * 64 + "\n")
    client = rig.client(gate)
    client.send(wire.build_request("POST", "/x", body=b"x" * 1000) +
                wire.build_request("GET", "/y"))
    first = client.read_response()
    assert first.status == 401 and first.complete
    if "close" not in first.items_of("connection"):
        assert client.read_response().status == 401
    assert not upstream.connections


def test_expectation_end_to_end(rig):
    """The upstream's 100 is what the client waits for."""
    may_go = threading.Event()

    def script(conn):
        request = conn.read_head()
        assert request.get("expect", "").lower() == "100-continue"
        may_go.wait(10)
        conn.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        conn.read_body(request)
        conn.send(wire.build_response(200, body=request.body))
        conn.wait_gone()
    upstream = rig.upstream(script)
    gate = rig.gateway(upstream)
    client = rig.client(gate)
    client.send(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n"
                b"Expect: 100-continue\r\n\r\n")
    upstream.wait_request()
    may_go.set()
    interim = client.read_interim()
    assert interim is not None and interim.status == 100
    client.send(b"hello")
    response = client.read_response()
    assert response.status == 200 and bytes(response.body) == b"hello"
    assert [one.status for one in response.interim] == [100], "exactly one 100"


@pytest.mark.parametrize("status", [401, 413, 417])
def test_refused_expectation(rig, status):
    """A final status without a 100; the body never leaves the client."""
    def script(conn):
        conn.read_head()
        threading.Event().wait(0.2)
        conn.send(wire.build_response(status, "Connection: close", body=b"no"))
        conn.wait_gone()
    gate = rig.gateway(rig.upstream(script))
    client = rig.client(gate)
    client.send(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n"
                b"Expect: 100-continue\r\n\r\n")
    response = client.read_response()
    assert response.status == status and response.complete
    assert not response.interim


def test_expectation_above_the_limit_is_refused(rig):
    upstream = rig.upstream(harness.holding())
    gate = rig.gateway(upstream, settings={"limits.body_bytes": "1KiB"})
    client = rig.client(gate)
    client.send(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5000\r\n"
                b"Expect: 100-continue\r\n\r\n")
    response = client.read_response()
    assert response.status == 413 and not response.interim
    assert not upstream.connections


def test_no_late_100(rig):
    """A 100 never follows a final status; the next answer is the next request's."""
    upstream = rig.upstream(harness.answering(wire.build_response(200, body=b"ok")))
    gate = rig.gateway(upstream)
    client = rig.client(gate)
    for _ in range(5):
        client.send(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n"
                    b"Expect: 100-continue\r\n\r\nhello")
        response = client.read_response()
        assert response.status == 200 and response.complete
        assert len(response.interim) <= 1 and not client.rest


def test_curl_waits_for_the_100(origin, rig, tmp_path):
    """curl sends Expect for big uploads; it must not run into its own time-out of 1 s."""
    import shutil
    import subprocess
    if shutil.which("curl") is None:
        pytest.skip("no curl")
    gate = rig.gateway(origin)
    path = tmp_path / "body"
    path.write_bytes(b"z" * 2_000_000)
    run = subprocess.run(
        ["curl", "-sS", "--max-time", str(20 * harness.SLOW), "-H", "Expect: 100-continue", "-T",
         str(path), f"http://127.0.0.1:{gate.port}/upload"], capture_output=True, check=False)
    assert run.returncode == 0, run.stderr
    assert b"2000000" in run.stdout
