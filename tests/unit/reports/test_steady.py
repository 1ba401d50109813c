"""The class of a start's latencies, and the first steady message."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from reports import steady
from reports.steady import Steadiness, classify

N = 200
AT = np.arange(N)


def starts(level: Callable[[int], float], count: int = 5) -> list[steady.Floats]:
    """Log-normal latencies around a level a message, for several starts."""
    rng = np.random.default_rng(3)
    levels = np.array([level(i) for i in range(N)])
    return [levels * rng.lognormal(0, 0.2, N) for _ in range(count)]


def test_flat() -> None:
    """Latencies of one level are flat from the first message."""
    assert Steadiness(steady.FLAT, 0) == classify(starts(lambda _: 2.0))


def test_first_message_only() -> None:
    """A single slow first message is a warm-up of one message."""
    assert Steadiness(steady.WARM_UP, 1) == classify(starts(lambda i: 20.0 if i < 1 else 2.0))


def test_warm_up() -> None:
    """A faster level from message 60 on is a warm-up of about 60 messages."""
    found = classify(starts(lambda i: 4.0 if i < 60 else 2.0))
    assert found is not None
    assert found.kind == steady.WARM_UP
    assert found.messages == pytest.approx(60, abs=3)


def test_slowdown() -> None:
    """A slower level in the second half is a slowdown."""
    found = classify(starts(lambda i: 2.0 if i < 100 else 3.0))
    assert found is not None
    assert found.kind == steady.SLOWDOWN
    assert found.messages == pytest.approx(100, abs=3)


def test_no_steady_state() -> None:
    """A level that is reached only at the very end is no steady state."""
    assert Steadiness(steady.NONE, None) == classify(starts(lambda i: 2.0 if i < 170 else 9.0))


def test_too_few_messages() -> None:
    """Below twenty messages nothing is said."""
    assert classify([np.ones(19)] * 3) is None
    assert classify([]) is None


def test_not_above_zero() -> None:
    """A latency that has no logarithm gives no class rather than a wrong one."""
    series = np.ones(50)
    series[7] = 0.0
    assert classify([series]) is None


def test_long_series_are_taken_in_blocks() -> None:
    """Of a long start, the first steady message is found to within a block."""
    series = np.where(np.arange(40_000) < 10_000, 4.0, 2.0)
    noise = np.random.default_rng(1).lognormal(0, 0.2, series.size)
    found = classify([series * noise])
    assert found is not None
    assert found.messages == pytest.approx(10_000, abs=200)
