# SPDX-License-Identifier: MIT
"""Headless Chromium with one page, steered over a pipe by the DevTools protocol: JSON messages,
each ended by a NUL, the browser's descriptor 3 to it and 4 from it."""

import base64
import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import time

import harness

PROGRAMS = ("chromium-headless-shell", "chromium")
OPTIONS = ("--headless", "--remote-debugging-pipe",
           # Only pages of ours are looked at, and containers rarely allow a sandbox inside.
           "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu",
           # Nothing but the page goes over the network.
           "--no-proxy-server", "--disable-background-networking", "--disable-component-update",
           "--disable-sync", "--disable-default-apps", "--no-first-run",
           "--no-default-browser-check", "--hide-scrollbars", "--window-size=800,900")


def _pipe():
    """A pipe whose descriptors are none of those that the browser expects."""
    ends = os.pipe()
    moved = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10) for fd in ends]
    for fd in ends:
        os.close(fd)
    return moved


class Browser:
    """A context manager; `folder` is for its profile and its stderr."""

    def __init__(self, folder):
        path = next(filter(None, map(shutil.which, PROGRAMS)), None)
        assert path, f"none of {PROGRAMS} is installed; scripts/setup does it"
        theirs_in, self._out = _pipe()
        self._in, theirs_out = _pipe()
        self._buffer = b""
        self._number = 0
        self._session = None
        self.events = []  # what the page has told without being asked
        self._log = folder / "chromium.log"
        with open(self._log, "wb") as log:
            self.process = subprocess.Popen(
                ["bash", "-c", f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}', "-", path, *OPTIONS,
                 f"--user-data-dir={folder / 'chromium'}", "about:blank"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=(theirs_in, theirs_out),
                env={**os.environ, "HOME": str(folder)}, start_new_session=True)
        os.close(theirs_in)
        os.close(theirs_out)
        try:
            target = self.call("Target.createTarget", url="about:blank")["targetId"]
            self._session = self.call("Target.attachToTarget", targetId=target,
                                      flatten=True)["sessionId"]
            for domain in ("Page", "Runtime"):
                self.call(f"{domain}.enable")
        except BaseException:
            self.kill()
            raise

    def _receive(self, deadline):
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._in], [], [], max(deadline - time.monotonic(), 0))
            octets = os.read(self._in, 1 << 18) if ready else b""
            if not octets:
                said = self._log.read_text(errors="replace")[-2000:]
                raise AssertionError(f"the browser {'has ended' if ready else 'is silent'}: {said}")
            self._buffer += octets
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)

    def call(self, method, seconds=30, **params):
        """One call of the protocol; its result."""
        self._number += 1
        ask = {"id": self._number, "method": method, "params": params}
        if self._session:
            ask["sessionId"] = self._session
        octets = json.dumps(ask).encode() + b"\0"
        while octets:
            octets = octets[os.write(self._out, octets):]
        deadline = time.monotonic() + seconds * harness.SLOW
        while True:
            message = self._receive(deadline)
            if message.get("id") == self._number:
                assert "error" not in message, (method, message["error"])
                return message["result"]
            self.events.append(message)

    def open(self, url):
        result = self.call("Page.navigate", url=url)
        assert "errorText" not in result, (url, result)

    def evaluate(self, expression):
        """The value of an expression in the page."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True,
                           awaitPromise=True)
        assert "exceptionDetails" not in answer, (expression, answer["exceptionDetails"])
        return answer["result"].get("value")

    def wait_for(self, expression, seconds=10):
        return harness.wait_until(lambda: self.evaluate(expression), seconds, expression)

    def failures(self):
        """Exceptions that nothing in the page has caught."""
        self.evaluate("0")
        return [event["params"] for event in self.events
                if event["method"] == "Runtime.exceptionThrown"]

    def screenshot(self, path):
        picture = base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture)
        return picture

    def kill(self):
        """It and all that it has started: they have a session of their own."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()
        os.close(self._in)
        os.close(self._out)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()
