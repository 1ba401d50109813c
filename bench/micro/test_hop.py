"""One hop between two steps: beside two bare clients, and with tracing beside without."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.floor import HopFloor
from bench.flows import RuntimeHop
from bench.micro.paired import Timed, in_turn_by_start
from bench.stage import Stage

MESSAGES = 15
RATE_HZ = 50.0
BODY_BYTES = 1024
STARTS, PAIRS = 6, 5
"""With six starts, their extremes enclose the median of ratios with 97 % confidence."""


def p50_ms(samples_ns: tuple[int, ...]) -> float:
    """The median of one batch."""
    return statistics.median(samples_ns) / 1e6


def hop_p50_ms(hop: RuntimeHop, seeds: Iterator[int]) -> Timed:
    """A way to time the runtime's hop: the p50 of one batch."""
    return lambda: p50_ms(hop.batch(MESSAGES, RATE_HZ, next(seeds)))


@pytest.mark.timeout(300)
def test_hop(benchmark: BenchmarkFixture, stage: Stage, folder: Path) -> None:
    """The runtime's hop p50; floor: the bare pair's, on the same broker, in batches in turn."""
    seeds = count(1)

    @contextmanager
    def begin(number: int) -> Iterator[tuple[Timed, Timed]]:
        place = folder / f"bare-{number}"
        place.mkdir()
        place.chmod(0o755)
        with (
            RuntimeHop(stage, f"hop-{number}", folder) as hop,
            HopFloor(stage.launcher, stage.place.url_inside, place, name=f"bare-{number}") as bare,
        ):
            yield (
                hop_p50_ms(hop, seeds),
                lambda: p50_ms(bare.batch(MESSAGES, RATE_HZ, BODY_BYTES, next(seeds))),
            )

    comparison = in_turn_by_start(benchmark, begin, STARTS, PAIRS)
    assert comparison.pairs == STARTS * PAIRS
    assert min(comparison.subject, comparison.floor) > 0


@pytest.mark.timeout(300)
def test_tracing(benchmark: BenchmarkFixture, stage: Stage, folder: Path) -> None:
    """The runtime's hop p50 with spans recorded; floor: the same without."""
    seeds = count(1)

    @contextmanager
    def begin(number: int) -> Iterator[tuple[Timed, Timed]]:
        with (
            RuntimeHop(stage, f"on-{number}", folder, traced=True) as traced,
            RuntimeHop(stage, f"off-{number}", folder, traced=False) as untraced,
        ):
            yield hop_p50_ms(traced, seeds), hop_p50_ms(untraced, seeds)

    comparison = in_turn_by_start(benchmark, begin, STARTS, PAIRS)
    assert len(list(folder.rglob("spans.spool"))) == 2 * STARTS
    assert min(comparison.subject, comparison.floor) > 0
