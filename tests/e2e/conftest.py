# SPDX-License-Identifier: MIT
"""Fixtures. Everything that needs a program is skipped until the programs are built."""

import contextlib

import pytest

import harness

PROGRAMS = {"weir": harness.BUILD / "cli" / "weir",
            "hello": harness.BUILD / "examples" / "hello",
            "report_origin": harness.BUILD / "examples" / "report_origin"}


def need(*names):
    for name in names:
        if not PROGRAMS[name].exists():
            pytest.skip(f"{PROGRAMS[name]} is not built")


@pytest.fixture(scope="module")
def hello():
    """One `hello` per module, which must have survived it."""
    need("weir", "hello")
    with harness.example("hello") as program:
        yield program


@pytest.fixture(scope="module")
def origin():
    """One `report_origin` per module, which must have survived it."""
    need("weir", "report_origin")
    with harness.example("report_origin") as program:
        yield program


class Rig:
    """Starts what one test needs; everything is stopped, and must have survived, at its end."""

    def __init__(self, stack, folder):
        self.stack = stack
        self.folder = folder
        self.count = 0
        self.logs = []

    def upstream(self, script, **kw):
        return self.stack.enter_context(harness.Upstream(script, **kw))

    def client(self, gate, **kw):
        return self.stack.enter_context(harness.Client(gate.port, **kw))

    def enter(self, manager):
        return self.stack.enter_context(manager)

    def gateway(self, to, log=True, keys=None, settings=None, managed=True, **kw):
        """A gateway before an upstream (or program, or port); `gate.log` is its access log. One that is not
        managed is ended by its test, which looks at how it ends."""
        self.count += 1
        settings = dict(settings or {})
        path = self.folder / f"access-{self.count}.log"
        if log:
            settings.setdefault("access_log", path)
        if isinstance(keys, str):
            keys_path = self.folder / f"keys-{self.count}"
            keys_path.write_text(keys)
            keys = keys_path
        port = to if isinstance(to, int) else to.port
        gate = harness.gateway(port, settings=settings, keys=keys, **kw)
        if managed:
            self.stack.enter_context(gate)
        else:
            self.stack.callback(gate.kill)
        gate.log = harness.AccessLog(path)
        self.logs.append(gate.log)
        return gate

    def check_records(self):
        """Whatever a test was about, the stall clocks of all its exchanges have counted each moment once, and
        nothing that a peer has done made the gateway say that it is at fault itself."""
        for log in self.logs:
            for record in log.records():
                assert record["outcome"] != "internal_error", record
                if harness.has_clocks(record):
                    harness.check_stalls(record)


@pytest.fixture
def rig(tmp_path):
    need("weir")
    with contextlib.ExitStack() as stack:
        one = Rig(stack, tmp_path)
        yield one
    one.check_records()


@pytest.fixture(scope="module")
def module_rig(tmp_path_factory):
    """The same for a whole module."""
    need("weir")
    with contextlib.ExitStack() as stack:
        one = Rig(stack, tmp_path_factory.mktemp("weir"))
        yield one
    one.check_records()
