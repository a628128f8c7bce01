# SPDX-License-Identifier: MIT
"""The examples by themselves, as far as the other tests rely on them."""

import hashlib
import json
import subprocess

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
