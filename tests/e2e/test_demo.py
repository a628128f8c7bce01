# SPDX-License-Identifier: MIT
"""./demo as a user has it: in a terminal of its own, looked at, tried out, ended by Ctrl-C."""

import fcntl
import os
import pathlib
import pty
import re
import select
import shlex
import subprocess
import termios
import time

import pytest

import harness

LINE = re.compile(r"^ +([\d.]+) +([\d.]+) +([\d.]+) +([\d.]+) +(\d+) +([\d.]+) +([\d.]+)$", re.M)


class Terminal:
    """A program that has a terminal to itself."""

    def __init__(self, *argv):
        self.text = ""
        self.fd, slave = pty.openpty()

        def take():
            os.setsid()
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        self.process = subprocess.Popen(argv, stdin=slave, stdout=slave, stderr=slave,
                                        cwd=harness.ROOT, preexec_fn=take)
        os.close(slave)

    def read(self):
        """Takes what is there; False at the end."""
        while select.select([self.fd], [], [], 0)[0]:
            try:
                octets = os.read(self.fd, 65536)
            except OSError:                             # how a terminal ends
                return False
            self.text += octets.decode("utf-8", "replace").replace("\r\n", "\n")
        return True

    def wait(self, claim, seconds, what):
        def look():
            self.read()
            return claim(self.text)
        try:
            return harness.wait_until(look, seconds, what)
        except AssertionError as error:
            raise AssertionError(f"{error}; it said: {self.text[-3000:]}") from None

    def press_ctrl_c(self):
        os.write(self.fd, b"\x03")

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.fd)


def children(pid):
    """{pid: when it started} of what a process has started itself."""
    found = {}
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[1]) == pid and fields[0] != "Z":
            found[int(stat.parent.name)] = fields[19]
    return found


def is_left(pid, started):
    try:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return False
    return fields[19] == started and fields[0] != "Z"


@pytest.mark.slow
@pytest.mark.skipif(harness.BUILD != harness.ROOT / "build" / "release",
                    reason="./demo runs the release build, whatever is under test")
def test_demo_until_ctrl_c():
    terminal = Terminal("./demo")
    try:
        terminal.wait(lambda text: "Ctrl-C here ends it" in text, 60, "what to try")
        curls = [line.strip() for line in terminal.text.split("\n")
                 if re.match(r" +curl |.*\| curl ", line)]
        assert len(curls) >= 7, curls
        for word in ("-H 'X-Api-Key: ", "--limit-rate", "/sse", "-T -", "/fail"):
            assert any(word in line for line in curls), f"{word} in {curls}"
        assert any("-i http" in line for line in curls), "one without a key"

        # The programs, and what is printed can be run as it is printed.
        started = children(terminal.process.pid)
        assert len(started) == 2, started
        report = next(line for line in curls if "mb=300" in line and "--limit-rate" not in line)
        done = subprocess.run([*shlex.split(report), "-sS", "-w", "%{http_code} %{size_download}",
                               "--limit-rate", "120M"], capture_output=True, text=True,
                              timeout=60, check=True)
        status, size = done.stdout.split()
        assert status == "200" and int(size) >= 300_000_000, done
        no_key = next(line for line in curls if "-i http" in line)
        assert "401" in subprocess.run([*shlex.split(no_key), "-sS"], capture_output=True, text=True,
                                       timeout=30, check=True).stdout.split("\n")[0]

        # One line a second, and they have seen the report pass.
        terminal.read()
        begin, before = time.monotonic(), len(LINE.findall(terminal.text))
        lines = terminal.wait(lambda text: len(LINE.findall(text)) >= before + 3 and LINE.findall(text),
                              10, "three lines more")
        assert 1.5 < time.monotonic() - begin < 4.5 * harness.SLOW
        assert "in MB" in terminal.text and "RSS MB" in terminal.text and "streams" in terminal.text
        bytes_in, bytes_out, rss = (float(lines[-1][at]) for at in (0, 2, 5))
        # They look 20 times a second: the last moment of a connection is missed.
        assert 200 < bytes_out <= 320 and 200 < bytes_in <= 320, lines
        assert any(int(line[4]) == 1 and float(line[3]) > 10 for line in lines), lines
        assert 1 < rss < 50, lines

        terminal.press_ctrl_c()
        harness.wait_until(lambda: terminal.read() is False or terminal.process.poll() is not None, 15,
                           "the end of the demo")
        assert terminal.process.wait(10) == 0, terminal.text[-2000:]
        assert "Traceback" not in terminal.text, terminal.text[-3000:]
        left = [pid for pid, when in started.items() if is_left(pid, when)]
        assert not left, left
    finally:
        terminal.close()
