"""One hop between two steps: beside two bare clients, and with tracing beside without."""

from __future__ import annotations

import statistics
from itertools import count
from pathlib import Path

from pytest_benchmark.fixture import BenchmarkFixture

from bench.flows import RuntimeHop
from bench.micro.paired import in_turn
from bench.stage import Stage

MESSAGES = 15
RATE_HZ = 50.0
BODY_BYTES = 1024
PAIRS = 24


def p50_ms(samples_ns: tuple[int, ...]) -> float:
    """The median of one batch."""
    return statistics.median(samples_ns) / 1e6


def test_hop(benchmark: BenchmarkFixture, stage: Stage, folder: Path) -> None:
    """The runtime's hop p50; floor: the bare pair's, on the same broker, in batches in turn."""
    seeds = count(1)
    with RuntimeHop(stage, "hop", folder) as hop:
        comparison = in_turn(
            benchmark,
            lambda: p50_ms(hop.batch(MESSAGES, RATE_HZ, next(seeds))),
            lambda: p50_ms(stage.floor.batch(MESSAGES, RATE_HZ, BODY_BYTES, next(seeds))),
            PAIRS,
        )
    assert comparison.pairs == PAIRS
    assert min(comparison.subject, comparison.floor) > 0


def test_tracing(benchmark: BenchmarkFixture, stage: Stage, folder: Path) -> None:
    """The runtime's hop p50 with spans recorded; floor: the same without."""
    seeds = count(1)
    with (
        RuntimeHop(stage, "on", folder, traced=True) as traced,
        RuntimeHop(stage, "off", folder, traced=False) as untraced,
    ):
        comparison = in_turn(
            benchmark,
            lambda: p50_ms(traced.batch(MESSAGES, RATE_HZ, next(seeds))),
            lambda: p50_ms(untraced.batch(MESSAGES, RATE_HZ, next(seeds))),
            PAIRS,
        )
    assert len(list(folder.rglob("spans.spool"))) == 2
    assert min(comparison.subject, comparison.floor) > 0
