# SPDX-License-Identifier: MIT
"""Keys: who may do what, decided before the upstream is dialled or a body byte is read."""

import hashlib

import pytest

import harness
import wire


def key_line(label, key, rest=""):
    return f"{label} {hashlib.sha256(key.encode()).hexdigest()} {rest}\n"


KEYS = ("# who may do what\n\n" + key_line("all", "open-sesame") +
        key_line("reports", "r-key", "prefix=/reports,/feeds methods=GET,HEAD") +
        key_line("writer", "w-key", "methods=POST"))


@pytest.fixture
def guarded(rig):
    upstream = rig.upstream(harness.answering(wire.build_response(200, body=b"secret")))
    return upstream, rig.gateway(upstream, keys=KEYS)


def ask(guarded, *fields, method="GET", target="/x", **kw):
    """The status, and whether the upstream has been dialled for it."""
    upstream, gate = guarded
    before = len(upstream.connections), len(upstream.requests)
    response = harness.fetch(gate.port, method, target, *fields, **kw)
    reached = (len(upstream.connections), len(upstream.requests)) != before
    assert response.complete
    return response, reached


@pytest.mark.parametrize("fields", [
    (), ("X-Api-Key: wrong",), ("X-Api-Key:",), ("Authorization: Bearer wrong",),
    ("Authorization: Basic b3Blbi1zZXNhbWU=",), ("Authorization: Bearer",),
    ("Authorization: open-sesame",), ("X-Api-Key: open-sesam",), ("X-Api-Key: open-sesame2",),
    ("X-Api-Key: OPEN-SESAME",), ("X-Other: open-sesame",),
    ("X-Api-Key: " + hashlib.sha256(b"open-sesame").hexdigest(),), ("X-Api-Key: " + "x" * 5000,),
    ("X-Api-Key: all",), ("Cookie: X-Api-Key=open-sesame",)])
def test_no_good_key(guarded, fields):
    response, reached = ask(guarded, *fields)
    assert response.status == 401
    assert response.get("www-authenticate")
    assert not reached
    assert b"secret" not in response.body


def test_key_in_the_query_is_none(guarded):
    response, reached = ask(guarded, target="/x?key=open-sesame&X-Api-Key=open-sesame")
    assert response.status == 401 and not reached


@pytest.mark.parametrize("fields", [("X-Api-Key: open-sesame",), ("x-api-KEY:open-sesame  ",),
                                    ("Authorization: Bearer open-sesame",),
                                    ("Authorization: bearer open-sesame",)])
def test_good_key(guarded, fields):
    response, reached = ask(guarded, *fields)
    assert response.status == 200 and reached


@pytest.mark.parametrize("fields", [
    ("X-Api-Key: open-sesame", "X-Api-Key: wrong"),
    ("X-Api-Key: wrong", "Authorization: Bearer open-sesame"),
    ("X-Api-Key: wrong", "X-Api-Key: open-sesame")])
def test_contradicting_keys_are_refused(guarded, fields):
    response, reached = ask(guarded, *fields)
    assert response.status in (400, 401) and not reached


@pytest.mark.parametrize("target, status", [
    ("/reports", 200), ("/reports/", 200), ("/reports/a/b", 200), ("/reports?x", 200),
    ("/feeds/1", 200), ("/", 403), ("/other", 403), ("/reportsx", 403), ("/report", 403),
    ("/Reports", 403), ("/other?/reports", 403), ("//reports", 403), ("/a/reports", 403)])
def test_prefixes_go_by_segment(guarded, target, status):
    response, reached = ask(guarded, "X-Api-Key: r-key", target=target)
    assert response.status == status
    assert reached == (status == 200)


@pytest.mark.parametrize("target", [
    "/reports/../admin", "/reports/..", "/reports/%2e%2e/admin", "/reports/.%2E/admin",
    "/reports/%2e%2e%2fadmin", "/reports/..%2fadmin", "/reports/a/../../admin",
    "/reports/./../admin", "/reports/..;/admin", "/reports%2f..%2fadmin", "/reports/..\\admin"])
def test_no_way_out_of_a_prefix(guarded, target):
    response, reached = ask(guarded, "X-Api-Key: r-key", target=target)
    assert response.status in (400, 403) and not reached


def test_absolute_form_is_judged_by_its_path(guarded):
    response, reached = ask(guarded, "X-Api-Key: r-key", target="http://test/admin")
    assert response.status == 403 and not reached
    response, reached = ask(guarded, "X-Api-Key: r-key", target="http://test/reports/a")
    assert response.status == 200 and reached


@pytest.mark.parametrize("key, method, status", [
    ("r-key", "GET", 200), ("r-key", "POST", 403), ("r-key", "DELETE", 403),
    ("w-key", "POST", 200), ("w-key", "GET", 403), ("w-key", "HEAD", 403)])
def test_methods(guarded, key, method, status):
    upstream, gate = guarded
    before = len(upstream.connections)
    response = harness.fetch(gate.port, method, "/reports/a", f"X-Api-Key: {key}")
    assert response.complete and response.status == status
    assert status == 200 or len(upstream.connections) == before


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_refused_before_the_body_is_read(guarded, chunked):
    """The client reads its 401 although it never sends the body it has declared."""
    upstream, gate = guarded
    framing = "Transfer-Encoding: chunked" if chunked else "Content-Length: 100000000"
    with harness.Client(gate.port) as client:
        client.send(f"POST /x HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n".encode())
        response = client.read_response()
    assert response.status == 401 and response.complete
    assert not upstream.connections


def test_refused_expectation_gets_no_100(guarded):
    upstream, gate = guarded
    with harness.Client(gate.port) as client:
        client.send(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n"
                    b"Expect: 100-continue\r\n\r\n")
        response = client.read_response()
    assert response.status == 401 and not response.interim
    assert not upstream.connections


def test_connection_goes_on_after_a_refusal(guarded):
    _, gate = guarded
    with harness.Client(gate.port) as client:
        for status, key in ((401, "no"), (200, "open-sesame"), (401, "no"), (200, "open-sesame")):
            client.request("GET", "/x", f"X-Api-Key: {key}")
            assert client.read_response().status == status


def test_keys_are_per_request(guarded):
    """One good key on a connection does not open it for the next request."""
    upstream, gate = guarded
    with harness.Client(gate.port) as client:
        client.send(wire.build_request("GET", "/x", "X-Api-Key: open-sesame") +
                    wire.build_request("GET", "/x"))
        assert [client.read_response().status for _ in range(2)] == [200, 401]
    assert len(upstream.requests) == 1


@pytest.mark.parametrize("line", ["label", "label nothex", "label " + "a" * 63, "label " + "g" * 64,
                                  key_line("a", "b", "prefix=x").strip(),
                                  key_line("a", "b", "methods=").strip(),
                                  key_line("a", "b", "colour=red").strip()])
def test_bad_keys_file_is_an_error(rig, tmp_path, line):
    path = tmp_path / "keys"
    path.write_text(KEYS + line + "\n")
    with pytest.raises(AssertionError) as failure:
        harness.gateway(1, keys=path)
    assert "before it listened" in str(failure.value)
    assert ":6" in str(failure.value) or "line 6" in str(failure.value), "names the line"


def test_missing_keys_file_is_an_error(rig, tmp_path):
    with pytest.raises(AssertionError, match="before it listened"):
        harness.gateway(1, keys=tmp_path / "none")
