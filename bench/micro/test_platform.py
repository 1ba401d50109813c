"""Operations of the platform. Floor: the same containers, started and stopped without it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.environment import ROOT
from bench.flows import THREE_STEPS, deploy
from bench.micro.paired import in_turn, parts_in_turn
from bench.stage import Stage
from runtime.clock import now_ns
from runtime.control.plan import Place
from runtime.flows import Definition
from runtime.model import FlowState, FlowType
from runtime.modes.realtime import RealtimeFlow
from runtime.platform import Platform
from runtime.store import Store

PAIRS = 16
SETTLE_S = 0.1
"""Between start and stop: what a start leaves to be done by the engine is no part of a stop."""
PUBLISH_PAIRS = 10
TIMEOUT_S = 60.0
FLOWS = 100
DEFINITION = Definition(THREE_STEPS.steps)


@pytest.fixture
def platform(container_stage: Stage, folder: Path) -> Iterator[Platform]:
    """A platform on the stage, with the flow ``flow`` of three steps published."""
    stage = container_stage
    place = Place(stage.launcher, stage.place.url_host, stage.place.url_inside, folder / "runs")
    with Store.open(folder / "store") as store, Platform(store, place) as opened:
        for name in {step.component for step in THREE_STEPS.steps}:
            opened.deploy(ROOT / "scenarios" / "components" / name)
        opened.save_draft("flow", DEFINITION, FlowType.REALTIME)
        opened.publish("flow")
        yield opened


class Bare:
    """The same three containers without a platform."""

    def __init__(self, stage: Stage, folder: Path) -> None:
        self._stage, self._folder = stage, folder
        self._numbers = count(1)

    def flow(self) -> RealtimeFlow:
        """A flow that is ready to be started; its queues are there."""
        name = f"bare-{next(self._numbers)}"
        self._deployment = deploy(self._stage, THREE_STEPS, name, self._folder)
        return RealtimeFlow(self._deployment)

    def remove(self) -> None:
        """Delete the queues of the last one."""
        self._deployment.remove()


@pytest.mark.timeout(300)
def test_platform_start_and_stop(
    benchmark: BenchmarkFixture, platform: Platform, container_stage: Stage, folder: Path
) -> None:
    """Start: from the call until all three steps consume; the floor's queues are there before.

    Stop: until no container is left; the floor keeps its queues. ``cleared``: until a stop's
    queues are gone, too, for which nobody has to wait; the floor is that of the stop.
    """
    bare = Bare(container_stage, folder / "bare")

    def platform_ms() -> dict[str, float]:
        start_ns = now_ns()
        platform.start("flow")
        started_ns = now_ns()
        time.sleep(SETTLE_S)
        stop_ns = now_ns()
        platform.stop("flow")
        stopped_ns = now_ns()
        platform.history("flow", 1)
        return {
            "start": (started_ns - start_ns) / 1e6,
            "stop": (stopped_ns - stop_ns) / 1e6,
            "cleared": (now_ns() - stop_ns) / 1e6,
        }

    def floor_ms() -> dict[str, float]:
        with bare.flow() as flow:
            start_ns = now_ns()
            flow.start(timeout_s=TIMEOUT_S)
            started_ns = now_ns()
            time.sleep(SETTLE_S)
            stop_ns = now_ns()
            flow.stop()
            stop_ms = (now_ns() - stop_ns) / 1e6
        bare.remove()
        return {"start": (started_ns - start_ns) / 1e6, "stop": stop_ms, "cleared": stop_ms}

    found = parts_in_turn(benchmark, platform_ms, floor_ms, PAIRS)
    assert all(min(part.subject, part.floor) > 0 for part in found.values())


def test_platform_publish(
    benchmark: BenchmarkFixture, platform: Platform, container_stage: Stage, folder: Path
) -> None:
    """One version takes over from another; the floor stops three containers and starts three."""
    bare = Bare(container_stage, folder / "bare")
    platform.start("flow")

    def publish_ms() -> float:
        platform.save_draft("flow", DEFINITION)
        start_ns = now_ns()
        platform.publish("flow")
        return (now_ns() - start_ns) / 1e6

    def floor_ms() -> float:
        with bare.flow() as old:
            old.start(timeout_s=TIMEOUT_S)
            with bare.flow() as new:
                start_ns = now_ns()
                old.stop()
                new.start(timeout_s=TIMEOUT_S)
                took_ns = now_ns() - start_ns
            bare.remove()
        return took_ns / 1e6

    comparison = in_turn(benchmark, publish_ms, floor_ms, PUBLISH_PAIRS)
    assert platform.status("flow").entry.state is FlowState.RUNNING
    assert min(comparison.subject, comparison.floor) > 0


def test_platform_status(benchmark: BenchmarkFixture, platform: Platform) -> None:
    """All of 100 flows, one of which runs."""
    for number in range(FLOWS - 1):
        platform.save_draft(f"flow-{number}", DEFINITION)
        platform.publish(f"flow-{number}")
    platform.start("flow")
    benchmark.pedantic(  # type: ignore[no-untyped-call]
        platform.statuses, rounds=50, warmup_rounds=3
    )
    assert len(platform.statuses()) == FLOWS
