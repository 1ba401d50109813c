"""Comparison by pairs: the interval of a median, and what a comparison says."""

from __future__ import annotations

from random import Random

import pytest

from bench.micro.paired import calls_us, compare, compare_starts, median_interval


@pytest.mark.parametrize(("count", "low", "high"), [(5, 1, 5), (6, 1, 6), (9, 2, 8), (20, 6, 15)])
def test_interval_is_that_of_the_sign_test(count: int, low: int, high: int) -> None:
    """The ranks are those of published tables for 95 %; below six values the extremes."""
    values = [float(value) for value in range(1, count + 1)]
    Random(count).shuffle(values)
    assert median_interval(values) == (low, high)


def test_interval_covers_the_median_as_often_as_it_says() -> None:
    """Over many samples of a skewed distribution the true median lies within in at least 95 %."""
    random = Random(5)
    true_median = 0.6931471805599453
    covered = 0
    for _ in range(2000):
        low, high = median_interval([random.expovariate(1.0) for _ in range(24)])
        covered += low <= true_median <= high
    assert 0.945 <= covered / 2000 <= 0.985


def test_ratios_are_taken_pair_by_pair() -> None:
    """A machine that slows down half way does not change the ratio."""
    floor = [1.0] * 10 + [5.0] * 10
    subject = [1.2 * value for value in floor]
    comparison = compare(subject, floor, "ms")
    assert comparison.ratio == pytest.approx(1.2)
    assert comparison.low == pytest.approx(1.2)
    assert comparison.high == pytest.approx(1.2)
    assert comparison.pairs == 20
    assert comparison.document()["unit"] == "ms"


def test_starts_that_differ_widen_the_interval() -> None:
    """Narrow within each start, the interval over starts reaches from the lowest to the highest."""
    ratios = [1.3, 1.1, 1.2, 1.0, 1.4, 1.25]
    starts = [compare([ratio * 2.0] * 8, [2.0] * 8, "ms") for ratio in ratios]
    comparison = compare_starts(starts)
    assert comparison.ratio == pytest.approx(1.225)
    assert (comparison.low, comparison.high) == pytest.approx((1.0, 1.4))
    assert comparison.pairs == 48
    assert comparison.subject == pytest.approx(2.45)


def test_calls_are_timed_in_batches() -> None:
    """The calls of a batch are counted until it is long enough, then timed per call."""
    calls = 0

    def call() -> None:
        nonlocal calls
        calls += 1

    timed = calls_us(call, batch_us=5000.0)
    before = calls
    assert timed() > 0
    assert calls - before > 100
