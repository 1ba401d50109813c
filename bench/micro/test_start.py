"""Starting three steps, in both modes. Floor: three bare containers that connect with pika."""

from __future__ import annotations

from itertools import count
from pathlib import Path

from pytest_benchmark.fixture import BenchmarkFixture

from bench.floor import bare_starts_in_a_row_ms, bare_starts_in_parallel_ms
from bench.flows import THREE_STEPS, deploy, send
from bench.micro.paired import in_turn
from bench.stage import Stage
from runtime.clock import now_ns
from runtime.modes.ordinary import OrdinaryFlow
from runtime.modes.realtime import RealtimeFlow
from runtime.spool import marks, read_spool

PAIRS = 6
TIMEOUT_S = 60.0


def test_realtime_start(benchmark: BenchmarkFixture, container_stage: Stage, folder: Path) -> None:
    """From the first start call until all three steps consume; the floor starts in parallel."""
    stage = container_stage
    numbers = count(1)

    def start_ms() -> float:
        deployment = deploy(stage, THREE_STEPS, f"start-{next(numbers)}", folder)
        with RealtimeFlow(deployment) as flow:
            start_ns = now_ns()
            flow.start(timeout_s=TIMEOUT_S)
            phases = [marks(read_spool(started.spool).records) for started in flow.started]
        deployment.remove()
        return (max(phase["consuming"] for phase in phases) - start_ns) / 1e6

    comparison = in_turn(
        benchmark,
        start_ms,
        lambda: bare_starts_in_parallel_ms(stage.launcher, stage.place.url_inside, folder / "bare"),
        PAIRS,
    )
    assert min(comparison.subject, comparison.floor) > 0


def test_ordinary_execution(
    benchmark: BenchmarkFixture, container_stage: Stage, folder: Path
) -> None:
    """One execution, container after container; the floor starts, connects and stops in a row."""
    stage = container_stage
    numbers = count(1)
    deployment = deploy(stage, THREE_STEPS, "execution", folder)
    with OrdinaryFlow(deployment) as flow:

        def execution_ms() -> float:
            number = next(numbers)
            send(stage, deployment, number)
            flow.await_arrival(timeout_s=TIMEOUT_S)
            start_ns = now_ns()
            assert flow.execute(number, timeout_s=TIMEOUT_S)
            return (now_ns() - start_ns) / 1e6

        comparison = in_turn(
            benchmark,
            execution_ms,
            lambda: bare_starts_in_a_row_ms(
                stage.launcher, stage.place.url_inside, folder / "bare"
            ),
            PAIRS,
        )
    deployment.remove()
    assert min(comparison.subject, comparison.floor) > 0
