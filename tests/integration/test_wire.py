"""The meter against the packets: hops as the suite reports them, and as tcpdump sees them.

A flow of four steps, each of which says on the network when it is entered and when it emits (the
component ``beacon``); tests/wire/hops.py says which instants belong together.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import docker
import numpy as np
import pytest

from bench.session import Progress, run
from reports.results import analyse
from reports.rundir import SpanTable, read_run
from reports.trials import Trial, analyse_trial
from runtime.broker.node import RabbitNode
from runtime.clock import clock_id
from scenarios.files import load_scenario
from scenarios.model import Scenario
from tests.fakes.runs import DATA, ask
from tests.wire.capture import LOOPBACK, Capture, Recorder, open_sink, recording
from tests.wire.hops import EMITTED, ENTERED, Census, Hop, agreement, census, hops
from tests.wire.packets import Traffic, read_capture

STEPS = 4
MESSAGES = 300
OFFSET_MOVES_NS = 5_000
CLOCK_READING_NS = 2_000
"""What the difference of two clocks, which cannot be read at once, is uncertain by."""
MISPLACED_SHARE = 0.01
"""A kernel under load may hand a packet on after the call that sent it has returned."""
AMQP_PORT = 5672

HEAD = """
name = "wire"
title = "A flow that says on the network where it is"
flow_type = "realtime"
[load]
arrivals = "poisson"
rate = "50/s"
payload = "1 KiB"
[profiles.quick]
starts = 1
messages = {messages}
"""
STEP = """
[[steps]]
id = "step{index}"
component = "beacon"
function = "{function}"
config.step = {index}
config.to = "{to}"
config.port = {port}
"""


@dataclass(frozen=True, slots=True)
class Observed:
    """One trial, seen from both sides."""

    folder: Path
    trial: Trial
    spans: SpanTable
    capture: Capture
    traffic: Traffic
    census: Census
    hops: tuple[Hop, ...]
    strangers: frozenset[bytes]


def scenario(folder: Path, *, to: str, port: int) -> Scenario:
    """The flow of beacons, as a scenario file."""
    folder.mkdir(parents=True)
    (folder / "components").symlink_to(DATA / "components")
    functions = ["tick", *["run"] * (STEPS - 1)]
    steps = [
        STEP.format(index=index, function=function, to=to, port=port)
        for index, function in enumerate(functions)
    ]
    path = folder / "wire.toml"
    path.write_text(HEAD.format(messages=MESSAGES) + "".join(steps))
    return load_scenario(path)


class Containers:
    """Steps, load and broker in containers; captured on their bridge, which the host sees."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.out = folder / "run"
        self.stack = contextlib.ExitStack()
        self.capture: Capture | None = None
        self.strangers: frozenset[bytes] = frozenset()
        self._recorder: Recorder | None = None
        with open_sink("127.0.0.1") as probe:
            self._port = int(probe.getsockname()[1])

    def run(self) -> None:
        """Measure; the network is there when the load generator starts, and goes at the end."""
        flow = scenario(self.folder / "scenario", to="gateway", port=self._port)
        request = ask(self.out, flow, launcher="docker", broker="rabbitmq")
        with self.stack:
            run(request, Progress(phase=self._phase, step=lambda _done, _all: None))

    def _phase(self, text: str) -> None:
        if text == "starting the load generator":
            self._begin()
        elif text == "floor after" and self._recorder is not None:
            self.capture = self._recorder.stop()

    def _begin(self) -> None:
        run_id = json.loads((self.out / "run.json").read_text())["run_id"]
        client = docker.DockerClient()
        try:
            network = client.networks.get(f"hopbench-{run_id}").attrs
        finally:
            client.close()
        gateway = network["IPAM"]["Config"][0]["Gateway"]
        self.strangers = frozenset({bytes(int(part) for part in gateway.split("."))})
        self.stack.enter_context(open_sink(gateway, self._port))
        expression = f"tcp port {AMQP_PORT} or udp port {self._port}"
        bridge = f"br-{network['Id'][:12]}"
        self._recorder = self.stack.enter_context(recording(bridge, expression, self.folder))


class Processes:
    """Steps, load and broker as processes; captured on loopback."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.out = folder / "run"
        self.capture: Capture | None = None
        self.strangers: frozenset[bytes] = frozenset()

    def run(self) -> None:
        """Measure on a node of our own, so that the capture is there before the run."""
        with (
            open_sink("127.0.0.1") as sink,
            RabbitNode.start("wire", self.folder / "node") as node,
        ):
            port = sink.getsockname()[1]
            broker_port = node.url.rpartition(":")[2].partition("/")[0]
            flow = scenario(self.folder / "scenario", to="127.0.0.1", port=port)
            expression = f"tcp port {broker_port} or udp port {port}"
            with recording(LOOPBACK, expression, self.folder) as recorder:
                request = ask(self.out, flow, launcher="process", broker=node.url)
                run(request, Progress(phase=lambda _: None, step=lambda _done, _all: None))
                self.capture = recorder.stop()


Place = Callable[[Path], Containers | Processes]


def observe(place: Place, folder: Path) -> Observed | list[str]:
    """Run and capture; or, where the bench found no trial valid, why not."""
    setting = place(folder)
    setting.run()
    assert setting.capture is not None
    data = read_run(setting.out)
    trials = [analyse_trial(one) for one in data.trials]
    valid = [index for index, trial in enumerate(trials) if trial.valid]
    if not valid:
        return [reason for trial in trials for reason in trial.reasons]
    trial, spans = trials[valid[-1]], data.trials[valid[-1]].spans
    traffic = read_capture(setting.capture.file)
    exchange = f"hopbench.{data.record.run_id}-{trial.record.index}"
    return Observed(
        folder=setting.out,
        trial=trial,
        spans=spans,
        capture=setting.capture,
        traffic=traffic,
        census=census(spans, traffic, exchange),
        hops=hops(trial, spans, traffic, setting.capture.wall_offset_ns),
        strangers=setting.strangers,
    )


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(Containers, id="containers", marks=[pytest.mark.docker, pytest.mark.capture]),
        pytest.param(Processes, id="processes", marks=[pytest.mark.rabbitmq, pytest.mark.capture]),
    ],
)
def observed(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Observed]:
    """A valid trial and its packets; tried again once where the bench calls the trial invalid."""
    reasons: list[str] = []
    for _ in range(2):
        found = observe(request.param, tmp_path_factory.mktemp("wire"))
        if isinstance(found, Observed):
            yield found
            return
        reasons += found
    pytest.fail(f"no trial was valid: {reasons}")


def test_the_capture_is_sound(observed: Observed) -> None:
    """No packet was dropped, the wall clock was not set, and only our own side was seen midway."""
    assert observed.capture.dropped == 0
    assert observed.capture.offset_moved_ns < OFFSET_MOVES_NS
    # The bench's own connection is older than the capture; it carries no messages of the flow.
    for source, _, destination, _ in observed.traffic.midway:
        assert {source, destination} & observed.strangers


def test_every_message_is_on_the_wire_once_a_hop(observed: Observed) -> None:
    """Per hop, the messages of the suite and of the wire are the same, each once; none invented."""
    counted = observed.census
    assert counted.published == counted.sent
    assert counted.delivered == counted.handled
    assert set(counted.published.values()) == set(counted.delivered.values()) == {1}
    hops_seen = [hop for hop, _ in counted.published]
    assert {hop: hops_seen.count(hop) for hop in set(hops_seen)} == dict.fromkeys(
        range(STEPS), MESSAGES
    )
    assert not any(one.redelivered for one in observed.traffic.sightings)


def test_hops_agree_with_the_packets(observed: Observed) -> None:
    """The hops of which a p50 is reported are those of the packets, within 5 % of it or 50 us."""
    found = [agreement(hop) for hop in observed.hops[1:]]
    print(*found, sep="\n")
    assert [one.index for one in found] == list(range(1, STEPS))
    assert min(one.messages for one in found) >= 200
    assert [str(one) for one in found if not one.holds] == []
    (cell,) = analyse(observed.folder)["figures"]["wire"]["cells"]
    reported_ms = [hop["total"]["p50"] for hop in cell["hops"]]
    compared_ms = [
        float(np.median(hop.suite[ENTERED] - hop.suite[EMITTED])) / 1e6 for hop in observed.hops[1:]
    ]
    assert compared_ms == pytest.approx(reported_ms)


def test_every_instant_lies_between_its_packets(observed: Observed) -> None:
    """Each instant of a span, whoever wrote it, comes after its cause's packet, before its own."""
    slack_ns = observed.capture.offset_moved_ns + CLOCK_READING_NS
    for hop in observed.hops:
        allowed = MISPLACED_SHARE * hop.suite.shape[1]
        wrong = hop.misplaced(slack_ns)
        assert {what: count for what, count in wrong.items() if count > allowed} == {}


def test_all_instances_have_this_clock(observed: Observed) -> None:
    """Load generator and steps, in containers too, name the clock of this process as theirs."""
    assert observed.trial.record.clock_ids_seen == (clock_id(),)
