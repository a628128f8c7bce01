# SPDX-License-Identifier: MIT
"""The examples by themselves, as far as the other tests rely on them."""

import concurrent.futures
import contextlib
import csv
import gzip
import hashlib
import json
import pathlib
import select
import socket
import sqlite3
import subprocess
import time
import urllib.parse

import pytest

import harness
import wire


def test_hello_answers_any_method(hello):
    for method in ("GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"):
        response = harness.fetch(hello.port, method, "/")
        assert (response.status, bytes(response.body)) == (200, b"hello\n")


def test_hello_dates_its_answers(hello):
    assert harness.fetch(hello.port).get("date", "").endswith(" GMT")


def test_big_has_its_length(hello):
    for count in (0, 1, 65536, 3_000_000):
        response = harness.fetch(hello.port, "GET", f"/big?n={count}")
        assert response.complete and response.framing == "length"
        assert response.body_bytes == count


def test_echo_streams(hello):
    """The answer begins before the request has ended."""
    with harness.Client(hello.port) as client:
        client.send(b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        client.send(wire.chunk(b"first"))
        client.read_head()
        client.read_more(lambda response: bytes(response.body) == b"first")
        client.send(wire.chunk(b"second") + wire.last_chunk())
        response = client.read_response()
        assert response.complete and bytes(response.body) == b"firstsecond"


def test_echo_of_a_broken_body_is_broken(hello):
    with harness.Client(hello.port) as client:
        client.send(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello")
        client.fin()
        response = client.read_response()
        assert not (response.complete and response.status == 200)


def test_expectation_is_answered_on_the_first_read(hello):
    with harness.Client(hello.port) as client:
        client.send(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n"
                    b"Expect: 100-continue\r\n\r\n")
        interim = client.read_interim()
        assert interim is not None and interim.status == 100
        client.send(b"hello")
        assert bytes(client.read_response().body) == b"hello"


def test_upload_hashes(origin):
    for size in (0, 1, 70_000):
        body = b"q" * size
        response = harness.fetch(origin.port, "POST", "/upload", body=body)
        assert json.loads(bytes(response.body)) == {
            "bytes": size, "sha256": hashlib.sha256(body).hexdigest()}


def test_report_framings(origin):
    for query, framing in (("mb=1", "length"), ("mb=1&chunked=1", "chunked")):
        response = harness.fetch(origin.port, "GET", f"/report?{query}")
        assert response.complete and response.framing == framing
        assert response.body_bytes >= 1_000_000
        assert b"," in response.body[:200]


def test_mega_is_one_chunk(origin):
    """One emit is one chunk on the wire, whatever its size."""
    with harness.Client(origin.port, 30) as client:
        client.request("GET", "/mega?mb=2")
        octets = b""
        while not octets.endswith(b"0\r\n\r\n"):
            octets += client.sock.recv(1 << 20)
    head, rest = octets.split(b"\r\n\r\n", 1)
    size, rest = rest.split(b"\r\n", 1)
    assert b"chunked" in head and int(size, 16) == 2 << 20
    told = json.loads(bytes(harness.fetch(origin.port, "GET", "/mega/sha256?mb=2").body))
    assert told["sha256"] == hashlib.sha256(rest[:2 << 20]).hexdigest()
    response = harness.fetch(origin.port, "GET", "/mega?mb=2")
    assert response.complete and bytes(response.body) == rest[:2 << 20]


def test_report_is_what_its_hash_says(origin):
    for seed in (0, 7):
        told = json.loads(bytes(harness.fetch(origin.port, "GET", f"/report/sha256?mb=2&seed={seed}").body))
        response = harness.fetch(origin.port, "GET", f"/report?mb=2&seed={seed}")
        assert response.complete and response.body_bytes == told["bytes"] == 2 << 20
        assert hashlib.sha256(bytes(response.body)).hexdigest() == told["sha256"]


def test_report_that_fails_is_never_whole(origin):
    for query in ("after=100000", "after=100000&chunked=1"):
        response = harness.fetch(origin.port, "GET", f"/fail?{query}")
        assert not response.complete
        assert response.body_bytes <= 100000


def started(name, *args):
    import conftest
    conftest.need("weir")
    return harness.example(name, *args)


def test_clock_ticks():
    with started("clock") as program:
        response = harness.fetch(program.port, "GET", "/?count=3&interval_ms=10")
        assert response.get("content-type") == "text/event-stream"
        events = bytes(response.body).decode().split("\n\n")[:-1]
        assert [event.split("\n")[:2] for event in events] == [
            ["event: tick", f"id: {n}"] for n in (1, 2, 3)]


CHAT = "/v1/chat/completions"


def ask(text, **more):
    return json.dumps({"model": "parrot-1", "messages": [
        {"role": "system", "content": "be brief"}, {"role": "user", "content": text}], **more}).encode()


def sse_data(body):
    """The data of each whole event so far; each has one line."""
    events = bytes(body).decode().split("\n\n")[:-1]
    assert all(event.startswith("data: ") and "\n" not in event for event in events)
    return [event[len("data: "):] for event in events]


def test_chat_streams_tokens():
    with started("chat", "--delay-ms", "5") as program:
        for more, tokens, reason in (({}, ["why", " is", " th\u00e9", " sky"], "stop"),
                                     ({"max_tokens": 4}, ["why", " is", " th\u00e9", " sky"], "stop"),
                                     ({"max_tokens": 2, "n": None, "stop": None}, ["why", " is"], "length"),
                                     ({"max_completion_tokens": 1}, ["why"], "length")):
            response = harness.fetch(program.port, "POST", CHAT, body=ask(
                "why is th\u00e9 sky", stream=True, stream_options=None, **more))
            assert (response.status, response.get("content-type")) == (200, "text/event-stream")
            assert response.complete
            *chunks, done = sse_data(response.body)
            chunks = [json.loads(chunk) for chunk in chunks]
            assert done == "[DONE]"
            assert len({(chunk["id"], chunk["created"], chunk["model"]) for chunk in chunks}) == 1
            assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
            assert not any("usage" in chunk for chunk in chunks)
            assert [chunk["choices"] for chunk in chunks] == [
                [{"index": 0, "delta": delta, "finish_reason": finish}] for delta, finish in (
                    [({"role": "assistant", "content": ""}, None)]
                    + [({"content": token}, None) for token in tokens] + [({}, reason)])]
        harness.wait_until(lambda: "chatcmpl-4: 1 tokens, complete" in program.stderr(), 2, "the log")


def test_chat_tells_the_usage_last():
    with started("chat", "--delay-ms", "0") as program:
        response = harness.fetch(program.port, "POST", CHAT, body=ask(
            "a b c", stream=True, max_tokens=2, stream_options={"include_usage": True}))
        *chunks, done = sse_data(response.body)
        *others, last = map(json.loads, chunks)
        assert done == "[DONE]" and all(chunk["usage"] is None for chunk in others)
        assert last["choices"] == []
        assert last["usage"] == {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}


def test_chat_tokens_leave_one_by_one():
    with started("chat", "--delay-ms", "200") as program, harness.Client(program.port) as client:
        client.request("POST", CHAT, body=ask("one two three four", stream=True))
        client.read_head()
        for count in range(1, 6):
            response = client.read_more(lambda seen: len(sse_data(seen.body)) >= count)
            assert len(sse_data(response.body)) == count


def test_chat_answers_with_one_object():
    with started("chat", "--delay-ms", "5") as program:
        for stream in ({}, {"stream": False}, {"stream": None}):
            response = harness.fetch(program.port, "POST", CHAT, body=ask("say  \u4e2d \"it\"", **stream))
            assert (response.status, response.get("content-type")) == (200, "application/json")
            answer = json.loads(bytes(response.body))
            assert answer.pop("id").startswith("chatcmpl-") and answer.pop("created") > 1_700_000_000
            assert answer == {
                "object": "chat.completion", "model": "parrot-1",
                "choices": [{"index": 0, "finish_reason": "stop",
                             "message": {"role": "assistant", "content": "say  \u4e2d \"it\""}}],
                "usage": {"prompt_tokens": 4, "completion_tokens": 4, "total_tokens": 8}}
        response = harness.fetch(program.port, "POST", CHAT, body=ask("", max_tokens=7))
        answer = json.loads(bytes(response.body))
        assert answer["choices"][0]["message"]["content"] == ""
        assert answer["usage"]["completion_tokens"] == 0
        response = harness.fetch(program.port, "GET", "/v1/models")
        assert [one["id"] for one in json.loads(bytes(response.body))["data"]] == ["parrot-1"]


def test_chat_refuses_in_the_shape_of_the_api():
    user = {"role": "user", "content": "x"}
    with started("chat", "--delay-ms", "0") as program:
        for body, status in (
                (b"", 400), (b"{", 400), (b"[]", 400), (b"5", 400), (b"{}", 400), (b"\xff\xfe", 400),
                (b'{"\xe4\xb8', 400), (b'{"messages":"\\u0000"}', 400), (b"[" * 500_000, 400),
                (json.dumps({"messages": []}).encode(), 400), (json.dumps({"messages": 5}).encode(), 400),
                (json.dumps({"messages": [{"role": "user"}]}).encode(), 400),
                (json.dumps({"messages": [user, {"content": "x"}]}).encode(), 400),
                (ask("x", stream="yes"), 400), (ask("x", max_tokens=0), 400),
                (ask("x", max_tokens=1.5), 400), (ask("x", stream_options=[]), 400),
                (ask("x" * (1 << 20)), 413)):
            response = harness.fetch(program.port, "POST", CHAT, body=body)
            assert (response.status, response.get("content-type")) == (status, "application/json"), body[:80]
            error = json.loads(bytes(response.body))["error"]
            assert error["type"] == "invalid_request_error" and error["message"], body[:80]
        assert harness.fetch(program.port, "GET", CHAT).status == 405
        assert harness.fetch(program.port, "GET", "/").status == 404


def test_chat_model_stops_when_the_client_leaves():
    """While it computes a token that takes a minute, with a reply begun and without."""
    with started("chat", "--delay-ms", "60000") as program:
        for number, stream in ((1, True), (2, False)):
            client = harness.Client(program.port)
            client.request("POST", CHAT, body=ask("never said", stream=stream))
            if stream:
                client.read_head()
                client.read_more(lambda seen: b"assistant" in seen.body)
            else:
                harness.wait_until(lambda: program.links("eventfd") > eventfds, 5, "the model to run")
            client.close()
            said = f"chatcmpl-{number}: 0 tokens, canceled"
            harness.wait_until(lambda: said in program.stderr(), 2, said)
            eventfds = program.links("eventfd")


def test_chat_model_waits_for_a_slow_client():
    """A client that reads nothing more stops the model, long before it has said all."""
    words = 400_000
    with started("chat", "--delay-ms", "0") as program:
        client = harness.Client(program.port)
        client.request("POST", CHAT, body=ask("x " * words, stream=True))
        client.read_head()
        client.read_more(lambda seen: b"x" in seen.body)
        harness.wait_until(lambda: program.cpu_share(0.3) < 0.02, 20, "the model to wait")
        assert "tokens" not in program.stderr()
        client.close()
        harness.wait_until(lambda: "tokens" in program.stderr(), 5, "the model to end")
        tokens = int(program.stderr().split(": ")[1].split(" ")[0])
        assert 0 < tokens < words / 4, program.stderr()


def test_chat_answers_curl():
    with started("chat", "--delay-ms", "5") as program:
        url = f"http://127.0.0.1:{program.port}{CHAT}"
        done = subprocess.run(["curl", "-sSN", "--max-time", "20", "--noproxy", "*", url, "-d", ask("a b", stream=True)],
                              stdout=subprocess.PIPE, check=True)
        assert len(sse_data(done.stdout)) == 5 and done.stdout.endswith(b"data: [DONE]\n\n")


def test_progress_is_one_job_for_all(tmp_path):
    """Two viewers and one who comes late see the same steps; the journal has them, too."""
    journal = tmp_path / "journal"
    with started("progress", "--journal", journal, "--steps", "12", "--step-ms", "40") as program:
        seen = []
        with harness.Client(program.port) as first, harness.Client(program.port) as second:
            for client in (first, second):
                client.request("GET", "/events")
                assert client.read_head().get("content-type") == "text/event-stream"
            seen = [bytes(client.read_response().body) for client in (first, second)]
        seen.append(bytes(harness.fetch(program.port, "GET", "/events").body))
        assert seen[0] == seen[1] == seen[2]
        retry, *steps, done = seen[0].decode().split("\n\n")[:-1]
        assert (retry, done) == ("retry: 1000", "event: done\ndata: ")
        lines = journal.read_text().split()
        assert lines[1] == "9592" and len(lines) == 12  # below 100,000
        for number, (step, primes) in enumerate(zip(steps, lines, strict=True), 1):
            name, data = step.split("\n")
            assert name == f"id: {number}" and data.startswith("data: ")
            assert json.loads(data[6:]) == {"step": number, "steps": 12, "below": number * 50000,
                                            "primes": int(primes)}
        late = bytes(harness.fetch(program.port, "GET", "/events", "Last-Event-ID: 11").body).decode()
        assert late.split("\n\n")[:-1] == [retry, steps[11], done]
        strange = bytes(harness.fetch(program.port, "GET", "/events", "Last-Event-ID: 99").body).decode()
        assert strange.split("\n\n")[:-1] == [retry, "event: reset\ndata: ", *steps, done]
        page = harness.fetch(program.port, "GET", "/")
        assert page.get("content-type") == "text/html; charset=utf-8" and b"new EventSource" in page.body


def test_progress_goes_on_after_its_last_whole_step(tmp_path):
    """Of a line that was being written when a process died nothing is left, and no step is done twice."""
    journal = tmp_path / "journal"
    for text in (b"5133\n9592\n1384", b""):
        journal.write_bytes(text)
        with started("progress", "--journal", journal, "--steps", "4", "--step-ms", "1") as program:
            harness.fetch(program.port, "GET", "/events")
        assert journal.read_bytes() == b"5133\n9592\n13848\n17984\n"
    argv = [harness.BUILD / "examples" / "progress", "--listen", "127.0.0.1:0", "--journal", journal]
    for text, steps, why in ((b"5133\n9592\n", 1, b"not of this job"), (b"hello\n", 4, b"not of this job")):
        journal.write_bytes(text)
        done = subprocess.run([*argv, "--steps", str(steps)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=20)
        assert done.returncode == 1 and why in done.stderr
        assert journal.read_bytes() == text
    journal.write_bytes(b"")
    with started("progress", "--journal", journal):
        done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=20)
        assert done.returncode == 1 and b"another process" in done.stderr


def test_pubsub_delivers_and_resumes():
    def post(port, text):
        return harness.fetch(port, "POST", "/events", body=text)

    def listen(port, *fields):
        client = harness.Client(port)
        client.request("GET", "/events", *fields)
        assert client.read_head().get("content-type") == "text/event-stream"
        return client

    def expect(client, text):
        response = client.read_more(lambda seen: len(seen.body) >= len(text))
        assert bytes(response.body) == text

    with started("pubsub") as program:
        with listen(program.port) as first, listen(program.port) as second:
            assert bytes(post(program.port, b"good morning").body) == b"1\n"
            assert bytes(post(program.port, b"two\nlines").body) == b"2\n"
            both = b"id: 1\ndata: good morning\n\nid: 2\ndata: two\ndata: lines\n\n"
            expect(first, both)
            expect(second, both)
        with listen(program.port, "Last-Event-ID: 1") as again:
            expect(again, b"id: 2\ndata: two\ndata: lines\n\n")
            post(program.port, b"three")
            expect(again, b"id: 2\ndata: two\ndata: lines\n\nid: 3\ndata: three\n\n")
        for _ in range(1010):
            post(program.port, b"x")
        with listen(program.port, "Last-Event-ID: 3") as late:
            expect(late, b"event: lagged\nid: 13\ndata: 10\n\nid: 14\ndata: x\n\n" + b"".join(
                b"id: %d\ndata: x\n\n" % number for number in range(15, 1014)))
        assert post(program.port, b"x" * 20000).status == 413
        assert harness.fetch(program.port, "PUT", "/events").get("allow") == "GET, POST, HEAD, OPTIONS"


def test_slow_source_ends_and_fails():
    with started("slow_source") as program:
        response = harness.fetch(program.port, "GET", "/?lines=3&interval_ms=5")
        assert response.complete and bytes(response.body) == b"line 1 of 3\nline 2 of 3\nline 3 of 3\n"
        response = harness.fetch(program.port, "GET", "/?lines=3&interval_ms=5&fail_at=3")
        assert not response.complete and bytes(response.body) == b"line 1 of 3\nline 2 of 3\n"


def test_origin_notices_who_leaves(origin):
    def stats():
        return json.loads(bytes(harness.fetch(origin.port, "GET", "/stats").body))
    before = stats()["canceled"]
    client = harness.Client(origin.port)
    client.request("GET", "/sse?interval_ms=1000")
    client.read_head()
    client.close()
    harness.wait_until(lambda: stats()["canceled"] > before, 2, "the cancel to be counted")


def test_ends_on_sigterm_with_idle_connections():
    import conftest
    conftest.need("weir", "hello")
    program = harness.example("hello")
    clients = [harness.Client(program.port) for _ in range(5)]
    clients[0].request("GET", "/")
    assert clients[0].read_response().status == 200
    program.stop(seconds=10)
    for client in clients:
        client.close()


# ---- export and ingest: SQLite behind blocking routes. Without libsqlite3 they are not built, and these tests fail.

EXPORT_ROWS = 60_000 if harness.IS_SANITIZED else 1_000_000
FAILS_AT = 20_000
INGEST_MB = 10 if harness.IS_SANITIZED else 200


def with_database(name, path, *args, **kw):
    import conftest
    conftest.need("weir")
    return harness.example(name, "--database", path, *args, **kw)


def stats_of(program):
    return json.loads(bytes(harness.fetch(program.port, "GET", "/stats").body))


def settled(program):
    """The same, once nothing runs: a handler counts after its client has the last byte."""
    return harness.wait_until(lambda: (told := stats_of(program))["running"] == 0 and told, 5, "the handlers to end")


def peak_rss(program):
    """The most it ever had resident, in bytes."""
    for line in pathlib.Path(f"/proc/{program.pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) << 10
    raise AssertionError("no VmHWM")


def csv_of(path, table):
    """The table as Python's sqlite3 and csv write it: (bytes, SHA-256)."""
    class Hash:
        def __init__(self):
            self.size, self.sha256 = 0, hashlib.sha256()

        def write(self, text):
            octets = text.encode()
            self.size += len(octets)
            self.sha256.update(octets)

    out = Hash()
    with contextlib.closing(sqlite3.connect(path)) as db:
        rows = db.execute(f'SELECT * FROM "{table}"')
        writer = csv.writer(out)
        writer.writerow([column[0] for column in rows.description])
        writer.writerows(rows)
    return out.size, out.sha256.hexdigest()


@pytest.fixture(scope="module")
def orders(tmp_path_factory):
    """A database that `export` itself has made, and views on it that go wrong."""
    path = tmp_path_factory.mktemp("export") / "orders.db"
    with with_database("export", path, "--rows", str(EXPORT_ROWS)) as program:
        assert stats_of(program)["running"] == 0  # it answers, so the database is there
    with contextlib.closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT count(*), max(id) FROM orders").fetchone() == (EXPORT_ROWS, EXPORT_ROWS)
        overflow = "abs(-9223372036854775807 - 1)"
        db.executescript(f"""
            CREATE VIEW twice AS SELECT * FROM orders UNION ALL SELECT * FROM orders;
            CREATE VIEW fails_late AS SELECT id, CASE id WHEN {FAILS_AT} THEN {overflow} END AS x FROM orders;
            CREATE VIEW fails_at_once AS SELECT {overflow} AS x;
            CREATE VIEW never AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)
                SELECT i FROM n WHERE i < 0;""")
    return path


def test_export_is_what_python_writes(orders):
    """A million rows, to two clients at once, hash by hash."""
    size, sha256 = csv_of(orders, "orders")
    with with_database("export", orders, "--threads", "1") as program:
        def fetch():
            return harness.fetch(program.port, "GET", "/export.csv", timeout=60)
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            for response in [one.result() for one in [pool.submit(fetch), pool.submit(fetch)]]:
                assert response.complete and response.status == 200
                assert response.get("content-type") == "text/csv; charset=utf-8"
                assert response.get("content-disposition") == 'attachment; filename="orders.csv"'
                assert response.body_bytes == size
                assert hashlib.sha256(bytes(response.body)).hexdigest() == sha256
        assert settled(program) == {"running": 0, "complete": 2, "stopped": 0, "failed": 0,
                                    "rows": 2 * EXPORT_ROWS}


def test_export_quotes_and_writes_every_kind_of_value(tmp_path):
    path = tmp_path / "odd.db"
    texts = ["", "plain", " led by a space ", 'say "hi"', '"', '""', "a,b", "a\r\nb", "\r", "\n", ",",
             "ünïcødé €", "x" * 100_000, '"' * 40_000, "=1+1", "'", None]
    reals = [0.1, 0.1 + 0.2, 1.0, -0.0, 5e-324, 1.7976931348623157e308, 1e15, 1e16, 123456789012345680.0, 1 / 3]
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute('CREATE TABLE "we""ird, name/" (id INTEGER, "a,""b""" TEXT)')
        db.executemany('INSERT INTO "we""ird, name/" VALUES (?, ?)', enumerate(texts))
        db.execute("CREATE TABLE single (x TEXT)")
        db.executemany("INSERT INTO single VALUES (?)", [("a",), ("",), (None,), ("b",)])
        db.execute("CREATE TABLE reals (x REAL)")
        db.executemany("INSERT INTO reals VALUES (?)", [(one,) for one in reals])
        db.execute("CREATE TABLE octets (x BLOB, n INTEGER)")
        db.executemany("INSERT INTO octets VALUES (?, ?)", [(bytes(range(256)), -2**63), (b"", 2**63 - 1)])
        db.execute("CREATE TABLE none (x, y)")
        db.execute("CREATE TABLE huge (x TEXT)")
        db.execute("INSERT INTO huge VALUES (?)", ("x" * (2 << 20),))
        db.commit()
    with with_database("export", path) as program:
        def fetch(table):
            return harness.fetch(program.port, "GET", "/export.csv?table=" + urllib.parse.quote(table, safe=""))
        for table in ('we"ird, name/', "single", "none"):
            body = bytes(fetch(table).body)
            assert (len(body), hashlib.sha256(body).hexdigest()) == csv_of(path, table.replace('"', '""')), table
        assert fetch('we"ird, name/').get("content-disposition") == 'attachment; filename="we_ird__name_.csv"'
        assert bytes(fetch("single").body) == b'x\r\na\r\n""\r\n""\r\nb\r\n'
        written = bytes(fetch("reals").body).decode().split("\r\n")[1:-1]
        assert [float(one) for one in written] == reals and written[0] == "0.1" and written[2] == "1.0"
        assert bytes(fetch("octets").body) == b"x,n\r\n%s,-9223372036854775808\r\n,9223372036854775807\r\n" % (
            bytes(range(256)).hex().encode())
        assert fetch("huge").status == 500  # SQLite would hold a value whole


def test_export_takes_names_only(orders):
    with with_database("export", orders) as program:
        for query in ("table=none", "table=", "table=sqlite_schema", "table=orders%22%3B--", "table=orders%00",
                      "table=main.orders", "table=%27"):
            assert harness.fetch(program.port, "GET", f"/export.csv?{query}").status == 404, query
        assert harness.fetch(program.port, "GET", "/export.csv?table=%zz").status == 400
        refused = harness.fetch(program.port, "POST", "/export.csv", body=b"x")
        assert refused.status == 405 and refused.get("allow") == "GET, HEAD, OPTIONS"
        head = harness.fetch(program.port, "HEAD", "/export.csv")
        assert head.status == 200 and head.get("content-disposition") == 'attachment; filename="orders.csv"'
        assert settled(program)["rows"] == 0


def test_export_waits_for_a_slow_reader_in_bounded_memory(orders):
    with with_database("export", orders, "--threads", "1") as program:
        with harness.Client(program.port, 60, receive_buffer=65536) as client:
            client.request("GET", "/export.csv?table=twice")
            assert client.read_head().status == 200
            client.read_more(lambda seen: seen.body_bytes >= 500_000, keep_body=False)
            # The rest stays in SQLite: the query stands still, and others are served meanwhile.
            rows = harness.wait_until(lambda: stands_still(program), 5, "the query to stand still")
            assert rows * 60 < client.read_more(lambda _: True).body_bytes + (6 << 20)
            assert stats_of(program)["running"] == 1
            assert harness.fetch(program.port, "HEAD", "/export.csv").status == 200
            response = client.read_response(keep_body=False)
            assert response.complete
        size = response.body_bytes
        if not harness.IS_SANITIZED:
            assert size > 100_000_000
            assert peak_rss(program) < 32 << 20, f"{peak_rss(program)} bytes"
        assert settled(program)["rows"] == 2 * EXPORT_ROWS


def stands_still(program):
    """The number of rows, if it has not changed for 0.3 s; else None."""
    before = stats_of(program)["rows"]
    time.sleep(0.3)
    return before if stats_of(program)["rows"] == before else None


def test_export_stops_when_the_client_leaves(orders):
    with with_database("export", orders) as program:
        for leave in (harness.Client.close, harness.Client.reset):
            client = harness.Client(program.port, receive_buffer=65536)
            client.request("GET", "/export.csv?table=twice")
            client.read_head()
            leave(client)
        harness.wait_until(lambda: stats_of(program)["stopped"] == 2, 2, "the queries to stop")
        told = settled(program)
        assert (told["complete"], told["failed"]) == (0, 0)
        assert told["rows"] < 3 * EXPORT_ROWS
        # One that is inside a step, which has not found a row and never will: only an interrupt ends it.
        client = harness.Client(program.port)
        client.request("GET", "/export.csv?table=never")
        harness.wait_until(lambda: stats_of(program)["running"] == 1, 2, "the query to begin")
        time.sleep(0.1)
        assert client.is_open() and stats_of(program)["running"] == 1
        client.close()
        harness.wait_until(lambda: stats_of(program)["stopped"] == 3, 2, "the query to be interrupted")
        assert settled(program)["running"] == 0
        assert program.stderr().count("stopped: the client left") == 3


def test_export_that_fails_is_never_whole(orders, tmp_path):
    with with_database("export", orders) as program:
        response = harness.fetch(program.port, "GET", "/export.csv?table=fails_late")
        assert response.status == 200 and not response.complete
        # What came before the failure may be lost, but nothing else is sent for it.
        lines = bytes(response.body).split(b"\r\n")
        assert lines[0] == b"id,x" and len(lines) <= FAILS_AT + 1
        assert all(line == b"%d," % number for number, line in enumerate(lines[1:-1], 1))
        assert harness.fetch(program.port, "GET", "/export.csv?table=fails_at_once").status == 500
        assert settled(program)["failed"] == 2
        assert "fails_late: 19999 rows, failed: integer overflow" in program.stderr()

    # A file that is damaged in the middle.
    path = tmp_path / "damaged.db"
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, x TEXT)")
        db.executemany("INSERT INTO orders VALUES (?, ?)", ((n, "x" * 100) for n in range(20_000)))
        db.commit()
        page = db.execute("PRAGMA page_size").fetchone()[0]
        middle = db.execute("PRAGMA page_count").fetchone()[0] // 2 * page
    with open(path, "r+b") as file:
        file.seek(middle)
        file.write(b"\xff" * page)
    with with_database("export", path) as program:
        response = harness.fetch(program.port, "GET", "/export.csv")
        assert response.status == 200 and not response.complete
        assert 0 < response.body_bytes < middle and settled(program)["failed"] == 1
        assert "failed: database disk image is malformed" in program.stderr()


def test_export_has_so_many_threads(orders):
    """With one thread the second export begins when the first one's client has left."""
    with with_database("export", orders, "--exports", "1") as program:
        first, second = harness.Client(program.port, receive_buffer=65536), harness.Client(program.port)
        first.request("GET", "/export.csv?table=twice")
        first.read_head()
        second.request("GET", "/export.csv?table=fails_late")
        time.sleep(0.2)
        assert second.is_open() and stats_of(program)["running"] == 1
        first.close()
        assert second.read_head().status == 200
        second.close()
        assert with_database_fails("export", orders, "--exports", "0")


def with_database_fails(name, path, *args):
    try:
        with_database(name, path, *args).kill()
    except AssertionError as error:
        return "is refused" in str(error)
    return False


# ---- uploads

def records_of(path):
    """[(upload, line, record)] in the order they were stored; the database must be sound."""
    with contextlib.closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return db.execute("SELECT upload, line, record FROM records ORDER BY id").fetchall()


def upload(port, body, *fields, **kw):
    response = harness.fetch(port, "POST", "/ingest", *fields, body=body, **kw)
    return response.status, json.loads(bytes(response.body)) if response.get(
        "content-type") == "application/json" else bytes(response.body)


def test_ingest_stores_what_was_sent(tmp_path):
    path = tmp_path / "records.db"
    with with_database("ingest", path) as program:
        body = ('{"a":1}\n\n{"b":"k\u00e4se \U0001f9c0 \\u0000","c":[{}]}\r\n { "d" : null } \n{}').encode()
        assert upload(program.port, body) == (201, {"upload": 1, "records": 4, "lines": 5, "bytes": len(body)})
        stored = [(1, 1, '{"a":1}'), (1, 3, '{"b":"k\u00e4se \U0001f9c0 \\u0000","c":[{}]}'),
                  (1, 4, ' { "d" : null } '), (1, 5, "{}")]
        assert records_of(path) == stored
        lines = [json.dumps({"n": n, "text": "x" * (n % 300)}) for n in range(5000)]
        body = "\n".join(lines).encode() + b"\n"
        packed = gzip.compress(body)
        assert upload(program.port, packed, "Content-Encoding: gzip") == (
            201, {"upload": 2, "records": 5000, "lines": 5000, "bytes": len(body)})
        assert records_of(path) == stored + [(2, n, line) for n, line in enumerate(lines, 1)]
        longest = b'{"x":"%s"}\n' % (b"y" * (65534 - 8))
        assert upload(program.port, longest)[0] == 201
        assert upload(program.port, b"") == (201, {"upload": 4, "records": 0, "lines": 0, "bytes": 0})
        assert harness.fetch(program.port, "GET", "/ingest").status == 405
        assert stats_of(program) == {"running": 0, "stored": 4, "refused": 0, "broken": 0, "lines": 5006}


def test_ingest_names_the_bad_line(tmp_path):
    path = tmp_path / "records.db"
    good = b'{"a":1}\n' * 3000
    with with_database("ingest", path) as program:
        for line in (b"{", b"[1]", b"1", b'"text"', b"null", b"{'a':1}", b'{"a":1}x', b'{"a":1,}', b" ",
                     b"\xef\xbb\xbf{}", b"[" * 5000):
            assert upload(program.port, good + line + b"\n" + good) == (
                400, {"error": "not a JSON object", "line": 3001}), line
        for line in (b'{"a":"\xff"}', b'{"a":"\xc0\x80"}', b'{"a":"\xed\xa0\x80"}', b'{"a":"\xf4\x90\x80\x80"}',
                     b'{"a":"\xe2\x82"}', b'{"a":1}\0', b'\0{"a":1}', b'{"a":"\xc3'):
            assert upload(program.port, b"\n" + line) == (400, {"error": "not UTF-8 text", "line": 2}), line
        # The last line of all, and one that comes alone while the upload goes on.
        assert upload(program.port, good + b'{"a":') == (400, {"error": "not a JSON object", "line": 3001})
        with harness.Client(program.port) as client:
            client.send(b"POST /ingest HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
            client.send(wire.chunk(b'{}\nbad\n{}\n'))
            response = client.read_response()
            assert response.status == 400 and json.loads(bytes(response.body))["line"] == 2
        for size in (65535, 300_000):
            assert upload(program.port, b"{}\n" + b"{" * size + b"\n{}\n") == (
                413, {"error": "over 65534 bytes", "line": 2})
        assert records_of(path) == []
        told = stats_of(program)
        assert (told["running"], told["stored"], told["refused"], told["broken"]) == (0, 0, 23, 0)


def test_ingest_bounds_the_body(tmp_path):
    path = tmp_path / "records.db"
    with with_database("ingest", path, "--max-body", "100000") as program:
        line = b'{"a":1}\n'
        assert upload(program.port, line * 12500)[0] == 201
        assert upload(program.port, line * 12501)[0] == 413
        with harness.Client(program.port) as client:  # without a length
            client.send(b"POST /ingest HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
            client.send(b"".join(wire.chunk(line * 1000) for _ in range(13)) + wire.last_chunk())
            assert client.read_response().status == 413
        packed = gzip.compress(line * 12501)  # small on the wire
        assert len(packed) < 1000 and upload(program.port, packed, "Content-Encoding: gzip")[0] == 413
        assert len(records_of(path)) == 12500


def test_ingest_of_a_broken_upload_leaves_nothing(tmp_path):
    path = tmp_path / "records.db"
    body = b'{"text":"%s"}\n' % (b"x" * 200) * 20_000
    heads = (b"POST /ingest HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (len(body) + 1) + body,
             b"POST /ingest HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + wire.chunk(body))
    with with_database("ingest", path) as program:
        broken, lines = 0, 0
        for octets in heads:
            for leave in (harness.Client.fin, harness.Client.reset):
                client = harness.Client(program.port)
                client.send(octets)
                lines += 20_000  # they have all been staged when it breaks off
                harness.wait_until(lambda: stats_of(program)["lines"] >= lines - 2048, 10, "the lines")
                leave(client)
                broken += 1
                harness.wait_until(lambda: stats_of(program)["broken"] == broken, 5, "the break to be seen")
                lines = stats_of(program)["lines"]
                client.close()
        assert stats_of(program)["stored"] == 0 and stats_of(program)["running"] == 0
        assert records_of(path) == []
        assert upload(program.port, body)[0] == 201
        assert len(records_of(path)) == 20_000


class Feed:
    """An NDJSON body of so many MB that is sent as it is made: one MB of lines, again and again."""

    def __init__(self, mb):
        self.block = b"".join(b'{"n":%d,"text":"%s"}\n' % (n, b"x" * 1000) for n in range(1000))
        self.count = mb * 1_000_000 // len(self.block) + 1
        self.lines, self.size = 1000 * self.count, len(self.block) * self.count

    def head(self):
        return b"POST /ingest HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % self.size

    def send(self, client):
        client.send(self.head())
        for _ in range(self.count):
            client.send(self.block)

    def sha256(self):
        total = hashlib.sha256()
        for _ in range(self.count):
            total.update(self.block)
        return total.hexdigest()


def test_ingest_of_any_size_in_bounded_memory(tmp_path):
    path = tmp_path / "records.db"
    feed = Feed(INGEST_MB)
    with with_database("ingest", path) as program:
        with harness.Client(program.port, 60) as client:
            feed.send(client)
            response = client.read_response()
        assert json.loads(bytes(response.body)) == {
            "upload": 1, "records": feed.lines, "lines": feed.lines, "bytes": feed.size}
        if not harness.IS_SANITIZED:
            assert peak_rss(program) < 32 << 20, f"{peak_rss(program)} bytes"
    total = hashlib.sha256()
    with contextlib.closing(sqlite3.connect(path)) as db:
        for record, in db.execute("SELECT record FROM records ORDER BY line"):
            total.update(record.encode() + b"\n")
    assert total.hexdigest() == feed.sha256()


def test_ingest_of_several_at_once(tmp_path):
    """One uploader takes his time; the others do not wait for him. Each one's records stay together."""
    path = tmp_path / "records.db"
    lines = [b'{"n":%d}\n' % n for n in range(3000)]
    with with_database("ingest", path, "--threads", "1") as program:
        with harness.Client(program.port) as slow:
            slow.send(b"POST /ingest HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
            slow.send(wire.chunk(b"".join(lines)))
            harness.wait_until(lambda: stats_of(program)["lines"] == 3000, 5, "the lines")
            with concurrent.futures.ThreadPoolExecutor(4) as pool:
                done = [pool.submit(upload, program.port, b"".join(lines), timeout=30) for _ in range(8)]
                told = [one.result() for one in done]
            assert sorted(body["upload"] for status, body in told if status == 201) == list(range(1, 9))
            assert len(records_of(path)) == 8 * 3000
            slow.send(wire.last_chunk())
            assert json.loads(bytes(slow.read_response().body))["upload"] == 9
        stored = records_of(path)
        assert stored == [(number, n, lines[n - 1].decode().rstrip("\n"))
                          for number in range(1, 10) for n in range(1, 3001)]


def test_ingest_slows_its_uploader_down(tmp_path):
    """A database that takes 256 KiB in 200 ms: what it does not take stays with the client."""
    feed = Feed(1000)
    with with_database("ingest", tmp_path / "records.db", "--pause-ms", "200", "--threads", "1") as program:
        with harness.Client(program.port) as client:
            client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 18)
            client.send(feed.head())
            client.sock.setblocking(False)
            sent, until = 0, time.monotonic() + 2
            while time.monotonic() < until:
                at = sent % len(feed.block)
                _, ready, _ = select.select([], [client.sock], [], 0.05)
                sent += client.sock.send(feed.block[at:]) if ready else 0
            taken = stats_of(program)["lines"] * len(feed.block) // 1000
            assert 0 < taken < 4 << 20, taken
            assert sent - taken < 10 << 20, (sent, taken)  # the kernel's buffers, one batch, one window
            if not harness.IS_SANITIZED:
                assert peak_rss(program) < 32 << 20, f"{peak_rss(program)} bytes"
        harness.wait_until(lambda: stats_of(program)["broken"] == 1, 5, "the break to be seen")


def test_ingest_killed_in_an_upload(tmp_path):
    """In the middle of the lines nothing has reached the database; in the middle of the move it is all or nothing."""
    path = tmp_path / "records.db"
    program = with_database("ingest", path)
    assert upload(program.port, b'{"before":1}\n')[0] == 201
    with harness.Client(program.port) as client:
        client.send(b"POST /ingest HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n\r\n" + b"{}\n" * 100_000)
        harness.wait_until(lambda: stats_of(program)["lines"] > 90_000, 10, "the lines")
        program.kill()
    assert records_of(path) == [(1, 1, '{"before":1}')]

    feed = Feed(INGEST_MB // 4 + 10)
    program = with_database("ingest", path)
    log = path.with_name("records.db-wal")
    with harness.Client(program.port, 60) as client:
        feed.send(client)
        deadline = time.monotonic() + 30 * harness.SLOW
        while not (log.exists() and log.stat().st_size > 1 << 20):  # the move has begun to write
            assert time.monotonic() < deadline
        program.kill()
    assert len(records_of(path)) in (1, 1 + feed.lines)
    with with_database("ingest", path) as program:
        assert upload(program.port, b'{"after":1}\n')[0] == 201
    assert records_of(path)[-1][2] == '{"after":1}'
