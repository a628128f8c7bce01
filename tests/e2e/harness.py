# SPDX-License-Identifier: MIT
"""Starts and stops the programs under test and plays their peers: scripted upstreams, raw
clients, access-log readers, and what /proc tells. Ports are always 0; nothing sleeps where it
can wait for an event, and every wait has a deadline that `SLOW` stretches for sanitizer builds."""

import contextlib
import json
import os
import pathlib
import resource
import select
import signal
import socket
import struct
import subprocess
import threading
import time

import wire

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BUILD = pathlib.Path(os.environ.get("WEIR_BUILD") or "build/release")
if not BUILD.is_absolute():
    BUILD = ROOT / BUILD
SANITIZER_WORDS = ("ERROR: AddressSanitizer", "ERROR: LeakSanitizer", "runtime error:",
                   "WARNING: ThreadSanitizer", "SUMMARY: ")


def _sanitizer():
    try:
        options = json.loads((BUILD / "meson-info" / "intro-buildoptions.json").read_text())
    except (OSError, ValueError):
        return "none"
    return next((str(one["value"]) for one in options if one["name"] == "b_sanitize"), "none")


SANITIZER = _sanitizer()
IS_SANITIZED = SANITIZER not in ("none", "")
SLOW = float(os.environ.get("WEIR_TEST_SLOW") or (4 if IS_SANITIZED else 1))


def wait_until(claim, seconds, what="a condition"):
    """Polls until `claim()` is true and returns its value; fails after `seconds` x SLOW."""
    deadline = time.monotonic() + seconds * SLOW
    while True:
        value = claim()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds * SLOW:.1f} s for {what}")
        time.sleep(0.01)


# ---- processes

class Program:
    """One program under test; used as a context manager it must end with 0 on SIGTERM."""

    def __init__(self, *argv, nofile=None, env=None, stderr_path=None):
        self.argv = [str(one) for one in argv]
        self.lines = []
        self.port = None
        self._stderr_path = stderr_path
        self._stderr = open(stderr_path, "wb") if stderr_path else subprocess.PIPE

        def limit():
            if nofile is not None:
                resource.setrlimit(resource.RLIMIT_NOFILE, (nofile, nofile))

        self.process = subprocess.Popen(
            self.argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self._stderr,
            preexec_fn=limit, env={**os.environ, **(env or {})})
        self._errors = []
        self._threads = [threading.Thread(target=self._collect, daemon=True, args=(
            self.process.stdout, self.lines))]
        if stderr_path is None:
            self._threads.append(threading.Thread(target=self._collect, daemon=True, args=(
                self.process.stderr, self._errors)))
        for thread in self._threads:
            thread.start()
        try:
            self._wait_port()
        except BaseException:
            self.kill()
            raise

    @staticmethod
    def _collect(stream, lines):
        with stream:
            for line in stream:
                lines.append(line.decode("utf-8", "replace").rstrip("\n"))

    def _wait_port(self):
        prefix = "listening on 127.0.0.1:"
        deadline = time.monotonic() + 10 * SLOW
        while not self.lines:
            if self.process.poll() is not None:
                for thread in self._threads:
                    thread.join(1)
                if not self.lines:
                    raise AssertionError(f"{self.argv} ended with {self.process.returncode} "
                                         f"before it listened: {self.stderr()[-2000:]}")
            if time.monotonic() > deadline:
                raise AssertionError(f"{self.argv} printed no line")
            time.sleep(0.005)
        if not self.lines[0].startswith(prefix):
            raise AssertionError(f"{self.argv} printed {self.lines[0]!r} first")
        self.port = int(self.lines[0][len(prefix):])

    @property
    def pid(self):
        return self.process.pid

    def is_alive(self):
        return self.process.poll() is None

    def stderr(self):
        if self._stderr_path:
            self._stderr.flush()
            return pathlib.Path(self._stderr_path).read_text(errors="replace")
        return "\n".join(self._errors)

    def kill(self):
        if self.is_alive():
            self.process.kill()
        self.process.wait()
        self._close()

    def _close(self):
        for thread in self._threads:
            thread.join(2)
        if self._stderr_path:
            self._stderr.close()

    def stop(self, seconds=15):
        """SIGTERM, then the exit status must be 0 and no sanitizer may have spoken."""
        alive = self.is_alive()
        if alive:
            self.process.send_signal(signal.SIGTERM)
        try:
            if SANITIZER == "thread":
                self._repeat_signal()
            code = self.process.wait(seconds * SLOW)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.argv[0]} did not end on SIGTERM") from None
        self._close_after_exit()
        said = [word for word in SANITIZER_WORDS if word in self._text]
        assert alive, f"{self.argv} had ended by itself with {code}: {self._text[-3000:]}"
        assert not said, f"{self.argv}: {self._text[-6000:]}"
        assert code == 0, f"{self.argv} ended with {code}: {self._text[-3000:]}"

    def _repeat_signal(self):
        """TSan defers a signal that comes while a fiber runs to that fiber's next call, and a fiber
        that has ended makes none: the signal is lost, the program's handler never runs."""
        try:
            self.process.wait(3)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGTERM)

    def _close_after_exit(self):
        for thread in self._threads:
            thread.join(2)
        self._text = self.stderr()
        if self._stderr_path:
            self._stderr.close()

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if kind is None:
            self.stop()
        else:
            self.kill()

    # what /proc tells

    def rss(self):
        """Resident bytes."""
        fields = pathlib.Path(f"/proc/{self.pid}/statm").read_text().split()
        return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")

    def fds(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def links(self, kind):
        """How many of its descriptors are of a kind, as /proc calls it."""
        folder, found = f"/proc/{self.pid}/fd", 0
        for fd in os.listdir(folder):
            with contextlib.suppress(OSError):
                found += kind in os.readlink(f"{folder}/{fd}")
        return found

    def cpu(self):
        """Seconds of CPU, user and system."""
        fields = pathlib.Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def cpu_share(self, seconds):
        """CPU used over a span of wall time, 1.0 = one core."""
        before, start = self.cpu(), time.monotonic()
        time.sleep(seconds)
        return (self.cpu() - before) / (time.monotonic() - start)


def example(name, *args, **kw):
    return Program(BUILD / "examples" / name, "--listen", "127.0.0.1:0", *args, **kw)


def gateway(to_port, *args, host="127.0.0.1", settings=None, keys=None, threads=None, **kw):
    """`weir proxy` before a port of a host. `settings` become --set key=value."""
    argv = [BUILD / "cli" / "weir", "proxy", "--listen", "127.0.0.1:0", "--to",
            f"http://{host}:{to_port}"]
    if threads is not None:
        argv += ["--threads", str(threads)]
    if keys is not None:
        argv += ["--keys", str(keys)]
    for key, value in (settings or {}).items():
        argv += ["--set", f"{key}={value}"]
    program = Program(*argv, *args, **kw)
    # It listens before its loops exist: each of them opens two eventfds, one more tells them to stop.
    loops = threads if threads is not None else os.cpu_count()
    wait_until(lambda: not program.is_alive() or program.links("eventfd") >= 1 + 2 * loops, 5,
               "the threads")
    return program


def sockets_to(port, state):
    """How many TCP sockets of this machine go to 127.0.0.1:port in a state (02 = SYN sent)."""
    wanted = f"0100007F:{port:04X}"
    lines = pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]
    return sum(1 for line in lines if line.split()[2] == wanted and line.split()[3] == state)


# ---- clients

def set_reset_on_close(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class Client:
    """A raw client: what it sends is sent as it is, what it reads is read strictly."""

    def __init__(self, port, timeout=10, receive_buffer=None):
        self.timeout = timeout * SLOW
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        if receive_buffer is not None:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.sock.settimeout(self.timeout)
        self.sock.connect(("127.0.0.1", port))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.peer = "127.0.0.1:%d" % self.sock.getsockname()[1]
        self.rest = b""
        self._parser = None
        self._is_returned = True

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def send(self, octets):
        self.sock.sendall(octets)

    def try_send(self, octets):
        """True unless the peer has closed or does not take them in time."""
        try:
            self.sock.sendall(octets)
            return True
        except OSError:
            return False

    def request(self, method, target, *fields, **kw):
        self.send(wire.build_request(method, target, *fields, **kw))

    def read_head(self, method="GET"):
        """Begins an answer and returns as soon as its head is there (or it has failed)."""
        self._begin(method)
        self._pump(lambda: self._parser.response.status is not None)
        return self._parser.response

    def read_more(self, enough, timeout=None, keep_body=True):
        """Reads on until `enough(response)`; the same answer as read_head began."""
        self._parser.keep_body = keep_body
        self._pump(lambda: enough(self._parser.response), timeout)
        return self._parser.response

    def read_response(self, method="GET", timeout=None, keep_body=True):
        """One whole answer, or the rest of the one that read_head or read_interim has begun; a
        broken one comes back with complete = False. `keep_body` False only counts the bytes."""
        if self._is_returned:
            self._begin(method, keep_body)
        self._parser.keep_body = keep_body
        self._pump(lambda: False, timeout)
        self._is_returned = True
        return self._parser.response

    def read_interim(self, timeout=None):
        """Waits for one interim answer; returns it, or None when the final one came first."""
        self._begin("GET")
        response = self._parser.response
        self._pump(lambda: response.interim or response.status is not None, timeout)
        return response.interim[0] if response.interim else None

    def _begin(self, method, keep_body=True):
        self._parser = wire.ResponseParser(method, keep_body)
        self._is_returned = False
        rest, self.rest = self.rest, b""
        self._parser.feed(rest)
        if self._parser.finished:
            self.rest = bytes(self._parser.rest)

    def _pump(self, enough, timeout=None):
        parser = self._parser
        deadline = time.monotonic() + (timeout * SLOW if timeout else self.timeout)
        while not parser.finished and not enough():
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"no answer in time; so far {parser.response}")
            self.sock.settimeout(left)
            try:
                octets = self.sock.recv(1 << 18)
            except socket.timeout:
                continue
            except ConnectionError:
                parser.end(reset=True)
                break
            finally:
                self.sock.settimeout(self.timeout)
            if octets:
                parser.feed(octets)
            else:
                parser.end()
        if parser.finished:
            self.rest = bytes(parser.rest)

    def wait_closed(self, seconds=5):
        """'fin' or 'rst' once the peer has ended the connection; what it still sends is kept."""
        deadline = time.monotonic() + seconds * SLOW
        while True:
            self.sock.settimeout(max(deadline - time.monotonic(), 0.001))
            try:
                octets = self.sock.recv(1 << 16)
            except socket.timeout:
                raise AssertionError(f"connection still open after {seconds * SLOW} s") from None
            except ConnectionError:
                return "rst"
            finally:
                self.sock.settimeout(self.timeout)
            if not octets:
                return "fin"
            self.rest += octets

    @property
    def is_answered(self):
        """The answer that is being read has ended, well or not."""
        return self._parser.finished

    def is_open(self):
        """Nothing has come and nothing has ended."""
        ready, _, _ = select.select([self.sock], [], [], 0)
        return not ready

    def fin(self):
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self):
        set_reset_on_close(self.sock)
        self.sock.close()

    def close(self):
        self.sock.close()


def fetch(port, method="GET", target="/", *fields, timeout=10, **kw):
    """One request on a connection of its own."""
    with Client(port, timeout) as client:
        client.request(method, target, *fields, **kw)
        return client.read_response(method)


# ---- scripted upstreams

class UpstreamConn:
    """One connection that the gateway has opened, in the hands of a script."""

    def __init__(self, upstream, sock):
        self.upstream = upstream
        self.sock = sock
        self.requests = []
        self.gone = None
        self.gone_at = None
        self._buffer = b""
        sock.settimeout(30 * SLOW)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def _fill(self):
        octets = self.sock.recv(1 << 18)
        if not octets:
            raise EOFError("the gateway has closed")
        self._buffer += octets

    def _until(self, mark):
        while mark not in self._buffer:
            self._fill()
        found, _, self._buffer = self._buffer.partition(mark)
        return found

    def exactly(self, size):
        while len(self._buffer) < size:
            self._fill()
        found, self._buffer = self._buffer[:size], self._buffer[size:]
        return found

    def some(self):
        """What is there, at least one octet."""
        if not self._buffer:
            self._fill()
        found, self._buffer = self._buffer, b""
        return found

    def read_head(self):
        """The next request's head, or None when the gateway has closed before it."""
        try:
            raw = self._until(b"\r\n\r\n")
        except (EOFError, ConnectionError):
            if self._buffer:
                self.upstream.faults.append(f"half a head: {self._buffer[:200]!r}")
            return None
        try:
            request = wire.parse_request_head(raw)
        except wire.WireError as error:
            self.upstream.faults.append(f"{error} in {raw[:400]!r}")
            return None
        self.requests.append(request)
        self.upstream.requests.append(request)
        return request

    def read_body(self, request):
        """The whole body; EOFError when the gateway cuts it."""
        if request.is_chunked:
            pieces = []
            while True:
                size = int(self._until(b"\r\n").split(b";")[0], 16)
                if size == 0:
                    break
                pieces.append(self.exactly(size))
                request.chunks += 1
                if self.exactly(2) != b"\r\n":
                    self.upstream.faults.append("bad chunk from the gateway")
            while True:
                line = self._until(b"\r\n")
                if not line:
                    break
                request.trailers += wire.parse_fields([line])
            request.body = b"".join(pieces)
        elif request.length:
            request.body = self.exactly(request.length)
        return request.body

    def read_request(self):
        request = self.read_head()
        if request is not None:
            self.read_body(request)
        return request

    def send(self, octets):
        self.sock.sendall(octets)

    def send_bytewise(self, octets):
        for at in range(len(octets)):
            self.sock.sendall(octets[at:at + 1])

    def flood(self, piece, count):
        """Sends a piece again and again; returns the octets the gateway took before it left."""
        sent = 0
        try:
            for _ in range(count):
                self.sock.sendall(piece)
                sent += len(piece)
        except OSError:
            pass
        return sent

    def fin(self):
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self):
        set_reset_on_close(self.sock)
        self.sock.close()

    def close(self):
        self.sock.close()

    def wait_gone(self, seconds=10):
        """Reads and drops until the gateway has ended this connection; sets gone, gone_at."""
        deadline = time.monotonic() + seconds * SLOW
        while self.gone is None:
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            self.sock.settimeout(left)
            try:
                if not self.sock.recv(1 << 18):
                    self.gone = "fin"
            except socket.timeout:
                return None
            except OSError:
                self.gone = "rst"
        self.gone_at = time.monotonic()
        return self.gone


class Upstream:
    """A listener that runs `script(conn)` in a thread for each connection."""

    def __init__(self, script, backlog=512, receive_buffer=None):
        self.script = script
        self.connections = []
        self.requests = []
        self.faults = []
        self.live = 0
        self.most_live = 0
        self._lock = threading.Lock()
        self._stopping = False
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        if receive_buffer is not None:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.sock.bind(("127.0.0.1", 0))
        self.sock.listen(backlog)
        self.port = self.sock.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self):
        while True:
            try:
                sock, _ = self.sock.accept()
            except OSError:
                return
            if self._stopping:
                sock.close()
                return
            conn = UpstreamConn(self, sock)
            with self._lock:
                self.connections.append(conn)
                self.live += 1
                self.most_live = max(self.most_live, self.live)
            threading.Thread(target=self._run, args=(conn,), daemon=True).start()

    def _run(self, conn):
        try:
            self.script(conn)
        except (EOFError, OSError):
            pass
        except Exception as error:                       # a broken script must fail its test
            self.faults.append(f"{type(error).__name__}: {error}")
        finally:
            with self._lock:
                self.live -= 1
            try:
                conn.sock.close()
            except OSError:
                pass

    def wait_connections(self, count, seconds=5):
        wait_until(lambda: len(self.connections) >= count, seconds, f"{count} connections")
        return self.connections[count - 1]

    def wait_request(self, count=1, seconds=5):
        wait_until(lambda: len(self.requests) >= count, seconds, f"{count} requests")
        return self.requests[count - 1]

    def close(self):
        self._stopping = True
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.sock.close()
        for conn in list(self.connections):
            try:
                conn.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        self._thread.join(2)

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        self.close()
        if kind is None:
            assert not self.faults, self.faults


def answering(make):
    """A script: keep-alive, every request is read whole and answered with make(request)."""
    def script(conn):
        while True:
            request = conn.read_request()
            if request is None:
                return
            conn.send(make(request) if callable(make) else make)
            if "close" in request.items_of("connection"):
                return
    return script


def holding(seconds=10):
    """A script that reads everything, answers nothing and waits for the gateway to leave."""
    def script(conn):
        conn.read_head()
        conn.wait_gone(seconds)
    return script


class RefusedPort:
    """A port of ours that nobody listens on: connecting is refused."""

    def __init__(self):
        self.sock = socket.socket()
        self.sock.bind(("127.0.0.1", 0))
        self.port = self.sock.getsockname()[1]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()


class SilentPort:
    """A listener with a full backlog: further SYNs are dropped, so that dialling hangs."""

    def __init__(self):
        self.sock = socket.socket()
        self.sock.bind(("127.0.0.1", 0))
        self.sock.listen(0)
        self.port = self.sock.getsockname()[1]
        self._fillers = []
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", self.port))
            self._fillers.append(filler)
        wait_until(lambda: self.dialling() >= 1, 2, "the backlog to be full")
        self.base = self.dialling()

    def dialling(self):
        """Connection attempts under way, our own fillers included."""
        return sockets_to(self.port, "02")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for one in [*self._fillers, self.sock]:
            one.close()


# ---- the access log

class AccessLog:
    """The JSON lines of one gateway."""

    def __init__(self, path):
        self.path = pathlib.Path(path)

    def records(self):
        """Every whole line; a line that is no JSON object fails the test."""
        try:
            text = self.path.read_text()
        except FileNotFoundError:
            return []
        found = []
        for line in text.split("\n")[:-1]:
            if line.startswith("{"):
                record = json.loads(line)
                assert isinstance(record, dict), line
                found.append(record)
            else:
                assert not line or not self.path.name.endswith(".log"), f"no JSON: {line!r}"
        return found

    def ends(self):
        return [record for record in self.records() if is_end(record)]

    def wait_end(self, peer, seconds=5, count=1):
        """The count-th final record of the client at `peer` (host:port)."""
        def found():
            mine = [record for record in self.ends() if record.get("peer") == peer]
            return mine[count - 1] if len(mine) >= count else None
        return wait_until(found, seconds, f"the log line of {peer}")


def is_end(record):
    """A final record, as opposed to one of a live stream."""
    return record["kind"] == "end"


def has_clocks(record):
    """What was refused before it was a request has no number, and no phase of it was reached."""
    return record["id"] is not None


def duration_ms(record):
    return float(record["phase_ms"]["total"])


def stall_sums(record):
    """{direction: (sum of the states in ms, wall time in ms)}."""
    return {direction: (sum(states.values()), duration_ms(record))
            for direction, states in record["stall_ms"].items()}


def check_stalls(record):
    """DESIGN promise 5: the times in the states sum to the wall time."""
    sums = stall_sums(record)
    assert set(sums) == {"down", "up"}, record
    for direction, (total, wall) in sums.items():
        assert abs(total - wall) <= 1.0, f"{direction}: states {total} ms, wall {wall} ms: {record}"
    return sums
