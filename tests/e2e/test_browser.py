# SPDX-License-Identifier: MIT
"""The page of examples/progress.c in a real browser: its EventSource, not ours."""

import socket

import pytest

import browser
import conftest
import harness

pytestmark = pytest.mark.slow

STEPS = 60
STEP_MS = 100
PICTURES = harness.BUILD / "test-pictures"
ROWS = "[...document.querySelectorAll('#steps li[data-id]')].reverse()"


class Job:
    """Starts one `progress` after another on the same journal, on a port that stays theirs."""

    def __init__(self, folder):
        self.journal = folder / "journal"
        # Bound, not listening: programs may listen on the port, nobody else is given it meanwhile.
        self.held = socket.socket()
        self.held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.held.bind(("127.0.0.1", 0))
        self.port = self.held.getsockname()[1]
        self.program = None

    def start(self, port=None):
        self.program = harness.example(
            "progress", "--listen", f"127.0.0.1:{self.port if port is None else port}", "--journal",
            self.journal, "--steps", STEPS, "--step-ms", STEP_MS)

    def done(self):
        return self.journal.read_text().split()

    def viewer_back_after(self, step):
        said = f"a viewer is back, Last-Event-ID {step}"
        harness.wait_until(lambda: said in self.program.stderr().split("progress: "), 10, said)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.program.kill()
        self.held.close()


def rows(page):
    return page.evaluate(f"{ROWS}.map(li => Number(li.dataset.id))")


def wait_rows(page, count):
    page.wait_for(f"{ROWS}.length >= {count}", 20)


def wait_away(page):
    """The page has noticed that the server is gone; returns the last step that it has."""
    page.wait_for("document.body.className === 'away'")
    return rows(page)[-1]


def take_picture(page, name):
    """Kept in the build folder, for people to look at."""
    picture = page.screenshot(PICTURES / name)
    assert picture.startswith(b"\x89PNG") and len(picture) > 5000


def moments(times):
    """How many there are of at least 20 ms apart."""
    count, last = 0, float("-inf")
    for time in times:
        if time - last >= 20:
            count, last = count + 1, time
    return count


def test_progress_page_resumes_after_restarts(tmp_path):
    conftest.need("weir")
    with Job(tmp_path) as job, browser.Browser(tmp_path) as page:
        page.open(f"http://127.0.0.1:{job.port}/")
        wait_rows(page, 1)
        before = len(rows(page))
        wait_rows(page, before + 8)

        # Killed, like a crash; the job goes on without the page's being able to see it.
        job.program.kill()
        crashed_after = wait_away(page)
        done = len(job.done())
        job.start(port=0)
        harness.wait_until(lambda: len(job.done()) >= done + 4, 10, "steps that nobody sees")
        job.program.stop()
        missed_until = len(job.done())
        job.start()
        job.viewer_back_after(crashed_after)
        wait_rows(page, missed_until + 2)
        take_picture(page, "progress-resumed.png")

        # Ended politely, like a deployment.
        job.program.stop()
        stopped_after = wait_away(page)
        job.start()
        job.viewer_back_after(stopped_after)
        page.wait_for("document.body.className === 'done'", 30)
        job.program.stop()

        # Nothing is lost, nothing repeated, nothing out of order; each row tells what the journal tells.
        assert rows(page) == list(range(1, STEPS + 1))
        told = page.evaluate(f"{ROWS}.map(li => li.children[1].textContent)")
        assert told == [f"{int(primes):,} primes" for primes in job.done()]
        assert job.done()[19] == "78498"  # below a million
        # What came while the page watched came one by one.
        times = page.evaluate(f"{ROWS}.map(li => Number(li.dataset.at))")
        assert times == sorted(times)
        assert moments(times[before:before + 8]) >= 4, times
        assert page.failures() == []
        take_picture(page, "progress-done.png")
