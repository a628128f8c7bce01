# SPDX-License-Identifier: MIT
"""Every vector, whole and a byte at a time: requests against the server itself and against the
gateway, responses through the gateway. Each batch runs at once, each case reports for itself."""

import pytest

import harness
import vector_runner
import vectors

REQUESTS = vectors.load("request")
RESPONSES = vectors.load("response")
MODES = ("whole", "bytewise")


def runs_at(vector, place):
    if place == "gateway":
        return vector.via != "direct"
    return not vector.set


class Batches:
    """The results of each batch, made when the first of its cases asks."""

    def __init__(self, make):
        self.make = make
        self.results = {}

    def faults(self, key, vector):
        if key not in self.results:
            self.results[key] = self.make(*key)
        return self.results[key][vector.name]


@pytest.fixture(scope="module")
def request_batches(module_rig, hello, origin):
    ports = {"hello": hello.port, "report_origin": origin.port}
    gates = {}

    def gate(program, settings):
        if (program, settings) not in gates:
            gates[program, settings] = module_rig.gateway(
                ports[program], settings=dict(one.split("=", 1) for one in settings))
        return gates[program, settings].port

    def make(place, mode):
        def port_of(vector):
            if place == "gateway" or vector.set:
                return gate(vector.program, vector.set)
            return ports[vector.program]
        chosen = [vector for vector in REQUESTS if runs_at(vector, place)]
        return vector_runner.run_requests(chosen, port_of, mode == "bytewise")

    return Batches(make)


@pytest.fixture(scope="module")
def response_batches(module_rig):
    served = vector_runner.VectorUpstream(RESPONSES)
    upstream = module_rig.upstream(served.script)
    gate = module_rig.gateway(upstream)

    def make(mode):
        return vector_runner.run_responses(RESPONSES, gate.port, served, mode == "bytewise")

    return Batches(make)


REQUEST_RUNS = [pytest.param(vector, place, mode, id=f"{vector.name}-{place}-{mode}")
                for place in ("server", "gateway") for mode in MODES for vector in REQUESTS
                if runs_at(vector, place)]


@pytest.mark.parametrize("vector, place, mode", REQUEST_RUNS)
def test_request(request_batches, vector, place, mode):
    faults = request_batches.faults((place, mode), vector)
    assert not faults, f"{vector.name} ({vector.what}) {vector.rfc}: {faults}"


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("vector", RESPONSES, ids=lambda vector: vector.name)
def test_response(response_batches, vector, mode):
    faults = response_batches.faults((mode,), vector)
    assert not faults, f"{vector.name} ({vector.what}) {vector.rfc}: {faults}"


def test_server_still_serves(request_batches, hello):
    """After all of it: nothing hangs about, nothing spins."""
    assert harness.fetch(hello.port).body == b"hello\n"
    assert hello.is_alive()
    assert hello.cpu_share(0.5) < 0.3
