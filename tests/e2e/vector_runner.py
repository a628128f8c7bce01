# SPDX-License-Identifier: MIT
"""Runs vectors, many at a time, and judges what came back. Judging needs no program and is
tested on itself."""

import asyncio
import concurrent.futures
import socket
import threading

import harness
import wire

PARALLEL = 24
NEXT_FIELDS = ("Connection: close",)


# ---- requests: against a server

def judge_request(vector, answers, ended):
    """The faults of what a server has answered; `ended` is 'fin', 'rst' or None (still open)."""
    faults = []
    if vector.expect == (("close",),):
        if ended is None:
            faults.append("the connection is still open")
        for answer in answers:
            if answer.status is not None and answer.status < 400:
                faults.append(f"answered {answer.status}")
        return faults
    wanted = list(vector.expect) + ([(vector.next,)] if vector.next is not None else [])
    heads = [answer for answer in answers if answer.status is not None]
    for index, allowed in enumerate(wanted):
        if index >= len(heads):
            faults.append(f"answer {index + 1} is missing: "
                          f"{answers[-1].error if answers else 'nothing came'}")
            break
        faults += _judge_answer(heads[index], allowed, index)
    if len(heads) > len(wanted):
        faults.append(f"{len(heads) - len(wanted)} answers too many: {heads[len(wanted)].status}")
    if answers and answers[-1].status is None and answers[-1].error and len(heads) == len(wanted):
        faults.append(f"octets after the last answer: {answers[-1].error}")
    if vector.and_close and ended is None:
        faults.append("the connection is still open")
    body_at = len(vector.expect) - 1
    if not faults:
        if vector.body is not None and bytes(heads[body_at].body) != vector.body:
            faults.append(f"body is {bytes(heads[body_at].body)[:80]!r}")
        if vector.body_has is not None and vector.body_has not in heads[body_at].body:
            faults.append(f"body is {bytes(heads[body_at].body)[:200]!r}")
        if vector.interim == "none" and heads[0].interim:
            faults.append(f"interim answer {heads[0].interim[0].status}")
    return faults


def _judge_answer(answer, allowed, index):
    if "abort" in allowed and answer.broken:
        return []
    if answer.status not in allowed:
        return [f"answer {index + 1} is {answer.status}, not {allowed}"]
    if not answer.complete:
        return [f"answer {index + 1} ({answer.status}) is broken: {answer.error}"]
    return []


class _Exchange:
    """One connection to a server: sends a vector, reads all there is."""

    def __init__(self, vector, port, bytewise):
        self.vector = vector
        self.port = port
        self.bytewise = bytewise
        self.octets = bytearray()
        self.ended = None
        self.methods = [vector.method(index) for index in range(8)]

    async def run(self):
        loop = asyncio.get_running_loop()
        with socket.socket() as sock:
            sock.setblocking(False)
            await loop.sock_connect(sock, ("127.0.0.1", self.port))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            reader = asyncio.ensure_future(self._read(loop, sock))
            try:
                await self._send(loop, sock)
                if self.vector.end == "fin":
                    sock.shutdown(socket.SHUT_WR)
            except OSError:
                pass
            try:
                await asyncio.wait_for(reader, 12 * harness.SLOW)
            except asyncio.TimeoutError:
                pass
            if self.ended is None:
                await self._probe(loop, sock)
        return wire.parse_answers(bytes(self.octets), self.ended is not None, self.methods,
                                  self.ended == "rst") if self.octets else []

    async def _send(self, loop, sock):
        octets = self.vector.input()
        if not self.bytewise:
            await loop.sock_sendall(sock, octets)
            return
        for at in range(len(octets)):
            if self.ended is not None:
                return
            await loop.sock_sendall(sock, octets[at:at + 1])
            await asyncio.sleep(0)

    async def _read(self, loop, sock):
        """Until the end, or until every expected answer is there."""
        wants_end = self.vector.and_close or self.vector.expect == (("close",),)
        while not await self._read_once(loop, sock):
            if not wants_end and self._has_all():
                return

    async def _read_once(self, loop, sock):
        try:
            piece = await loop.sock_recv(sock, 1 << 16)
        except OSError:
            self.ended = "rst"
            return True
        if not piece:
            self.ended = "fin"
            return True
        self.octets += piece
        return False

    def _has_all(self):
        wanted = len(self.vector.expect) + (1 if self.vector.next is not None else 0)
        answers = wire.parse_answers(bytes(self.octets), False, self.methods)
        return sum(1 for one in answers if one.complete) >= wanted or any(
            one.error for one in answers)

    async def _probe(self, loop, sock):
        """A late answer to something smuggled would come now; `ended` stays what it was."""
        try:
            sock.shutdown(socket.SHUT_WR)
            while True:
                piece = await asyncio.wait_for(loop.sock_recv(sock, 1 << 16), 2 * harness.SLOW)
                if not piece:
                    return
                self.octets += piece
        except (OSError, asyncio.TimeoutError):
            return


def run_requests(vectors, port_of, bytewise):
    """{name: faults}. `port_of(vector)` tells where each one goes."""
    results = {}

    async def one(vector, gate):
        async with gate:
            exchange = _Exchange(vector, port_of(vector), bytewise)
            try:
                answers = await exchange.run()
                results[vector.name] = judge_request(vector, answers, exchange.ended)
            except OSError as error:
                results[vector.name] = [f"could not connect: {error}"]

    async def every():
        gate = asyncio.Semaphore(PARALLEL)
        await asyncio.gather(*(one(vector, gate) for vector in vectors))

    asyncio.run(every())
    return results


# ---- responses: through the gateway, from a scripted upstream

class VectorUpstream:
    """Serves /v/NNN with the octets of vector NNN and /next/NNN with a good answer, and notes
    when a connection that has to be dropped is used again."""

    def __init__(self, vectors):
        self.by_number = {vector.number: vector for vector in vectors}
        self.served = {}
        self.reused = {}
        self.bytewise = False
        self._lock = threading.Lock()

    def begin(self, bytewise):
        self.bytewise = bytewise
        self.reused = {}
        self.served = {number: threading.Event() for number in self.by_number}

    def script(self, conn):
        tainted = None
        while True:
            request = conn.read_request()
            if request is None:
                return
            if tainted is not None:
                with self._lock:
                    self.reused[tainted] = request.target
            kind, number = request.target.strip("/").split("/")
            if kind == "next":
                conn.send(wire.build_response(200, body=b"next " + number.encode()))
                continue
            vector, served = self.by_number[number], self.served[number]
            if vector.reuse is False:
                tainted = number
            try:
                if self.bytewise:
                    conn.send_bytewise(vector.octets)
                else:
                    conn.send(vector.octets)
            finally:
                if vector.end == "rst":
                    conn.reset()
                elif vector.end == "fin":
                    conn.close()
                served.set()
            if vector.end != "keep":
                return


def judge_response(vector, answer):
    """The faults of what the gateway has made of an upstream's octets."""
    allowed = vector.expect[0]
    if "abort" in allowed:
        if answer.status is None:
            return []                               # cut before the head: visible enough
        if answer.complete and answer.status != 502:
            return [f"a clean {answer.status} with {bytes(answer.body)[:60]!r}"]
        return []
    if answer.status not in allowed:
        return [f"status {answer.status}, not {allowed} ({answer.error})"]
    if not answer.complete:
        return [f"{answer.status} is broken: {answer.error}"]
    if answer.status == 502:
        return _judge_502(answer)
    if vector.body is not None and bytes(answer.body) != vector.body:
        return [f"body is {bytes(answer.body)[:80]!r}"]
    return []


def _judge_502(answer):
    faults = []
    if answer.get("content-type", "").split(";")[0] != "application/problem+json":
        faults.append(f"502 as {answer.get('content-type')}")
    if "error=" not in answer.get("proxy-status", ""):
        faults.append(f"502 with Proxy-Status {answer.get('proxy-status')}")
    return faults


def _run_response(vector, port, upstream):
    method = vector.method(0) if vector.methods else "GET"
    goodbye = f"/next/{vector.number}"
    good = b"next " + vector.number.encode()
    with harness.Client(port, 15) as client:
        client.request(method, f"/v/{vector.number}")
        answer = client.read_response(method)
        faults = judge_response(vector, answer)
        upstream.served[vector.number].wait(10 * harness.SLOW)
        again = answer.complete and answer.framing != "close" and (
            "close" not in answer.items_of("connection"))
        if again and not faults:
            client.request("GET", goodbye)
            following = client.read_response()
            if following.status is None and following.error == "ended in head":
                pass                                # closing after a failure is fine
            elif (following.status, bytes(following.body), following.complete) != (200, good, True):
                faults.append(f"the next answer is {following}")
            elif client.rest:
                faults.append(f"octets after the next answer: {client.rest[:80]!r}")
    other = harness.fetch(port, "GET", goodbye, *NEXT_FIELDS)
    if (other.status, bytes(other.body), other.complete) != (200, good, True):
        faults.append(f"the next answer elsewhere is {other}")
    if vector.number in upstream.reused:
        faults.append(f"the connection was used again for {upstream.reused[vector.number]}")
    return faults


def _ends_before_its_octets(vector):
    """More octets follow a good answer. A byte at a time, its connection is good until they come:
    no other request may be under way that could rightly use it."""
    return vector.reuse is False and vector.end == "keep" and any(
        allowed not in ("abort", 502) for allowed in vector.expect[0])


def run_responses(vectors, port, upstream, bytewise):
    """{name: faults} through the gateway at `port`, which stands before `upstream`."""
    upstream.begin(bytewise)

    def one(vector):
        try:
            return _run_response(vector, port, upstream)
        except (OSError, AssertionError) as error:
            return [f"{type(error).__name__}: {error}"]

    results = {}
    alone = [vector for vector in vectors if bytewise and _ends_before_its_octets(vector)]
    together = [vector for vector in vectors if vector not in alone]
    for group, workers in ((together, PARALLEL), (alone, 1)):
        with concurrent.futures.ThreadPoolExecutor(workers) as pool:
            results.update(zip([vector.name for vector in group], pool.map(one, group)))
    for vector in vectors:                          # a late reuse counts as well
        if vector.number in upstream.reused and not results[vector.name]:
            results[vector.name] = [f"used again for {upstream.reused[vector.number]}"]
    return results
