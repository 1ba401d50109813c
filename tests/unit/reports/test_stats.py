"""Quantiles, means and their intervals."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.stats import (
    Basis,
    Bootstrap,
    Samples,
    can_give,
    mean,
    needed,
    quantile,
    quantiles,
    ratio,
)

FINITE = st.floats(-1e9, 1e9)


def samples(*starts: list[float]) -> Samples:
    """Samples of several starts."""
    return Samples.of([np.array(start, dtype=float) for start in starts])


@given(st.lists(FINITE, min_size=1, max_size=200), st.floats(0.001, 0.999))
def test_quantile_is_type_8(values: list[float], p: float) -> None:
    """Our quantile is Hyndman and Fan's type 8, as numpy computes it."""
    ordered = np.sort(np.array(values))
    expected = np.quantile(ordered, p, method="median_unbiased")
    assert quantile(ordered, p) == pytest.approx(float(expected), rel=1e-9, abs=1e-6)


@given(st.lists(FINITE, min_size=2, max_size=100))
def test_quantiles_are_monotonic_and_inside(values: list[float]) -> None:
    """Quantiles never leave the data and never fall while p grows."""
    ordered = np.sort(np.array(values))
    found = [quantile(ordered, p) for p in (0.01, 0.25, 0.5, 0.75, 0.95, 0.99)]
    slack = 1e-9 * max(1.0, float(np.abs(ordered).max()))
    assert ordered[0] - slack <= found[0]
    assert found[-1] <= ordered[-1] + slack
    assert all(a <= b + slack for a, b in itertools.pairwise(found))


@pytest.mark.parametrize(
    ("p", "enough"), [(0.5, 20), (0.9, 100), (0.95, 200), (0.99, 1000), (0.999, 10_000)]
)
def test_quantile_needs_ten_observations_beyond(p: float, enough: int) -> None:
    """A quantile is given from exactly the count at which ten observations lie beyond it."""
    assert enough == needed(p)
    assert can_give(enough, p)
    assert not can_give(enough - 1, p)


def test_short_data_has_no_p99() -> None:
    """999 values give a p95 and no p99."""
    data = samples(*(list(np.arange(333.0)) for _ in range(3)))
    p95, p99 = quantiles(data, (0.95, 0.99), Bootstrap(1))
    assert p95 is not None
    assert p99 is None


def test_mean_of_known_starts() -> None:
    """The interval of a mean is Student's over the starts' means, up to the bootstrap's noise."""
    found = mean(samples([-2.0], [-1.0], [0.0], [1.0], [2.0]), Bootstrap(7))
    assert found is not None
    assert found.high is not None
    assert found.value == 0.0
    # 2.776 (t of 4 degrees) x 1.5811 (deviation) / sqrt(5)
    assert found.high == pytest.approx(1.963, rel=0.08)
    assert found.high == -(found.low or 0)


def test_latencies_have_positive_bounds() -> None:
    """Starts that differ by factors have an interval that is a factor wide on either side."""
    found = mean(samples([1.0], [4.0], [16.0]), Bootstrap(7))
    assert found is not None
    assert found.low is not None
    assert found.high is not None
    assert found.value == 7.0
    assert found.low > 0
    assert found.value / found.low == pytest.approx(found.high / found.value)


def test_fewer_than_three_short_starts_have_no_interval() -> None:
    """Two starts of 30 messages give a mean and quantiles, but no bounds, and no basis."""
    data = samples(list(np.arange(30.0)), list(np.arange(30.0)))
    average = mean(data, Bootstrap(1))
    (median,) = quantiles(data, (0.5,), Bootstrap(1))
    for found in (average, median):
        assert found is not None
        assert (found.value, found.low, found.high, found.basis) == (14.5, None, None, None)


@pytest.mark.parametrize(("starts", "basis"), [(1, "blocks"), (2, "blocks"), (3, "starts")])
def test_basis_of_an_interval(starts: int, basis: str) -> None:
    """Below three starts, blocks of messages are drawn, and the figure says so."""
    rng = np.random.default_rng(2)
    data = Samples.of([rng.lognormal(0, 0.3, 250) for _ in range(starts)])
    figures = [
        mean(data, Bootstrap(1)),
        *quantiles(data, (0.5, 0.95), Bootstrap(1)),
        ratio(data, data, Bootstrap(1)),
    ]
    for found in figures:
        assert found is not None
        assert found.low is not None
        assert found.high is not None
        assert found.low < found.value < found.high
        assert (found.basis, found.starts) == (basis, starts)


def test_ratio_of_starts_and_blocks_rests_on_blocks() -> None:
    """A ratio is no more than the weaker of its two sides."""
    rng = np.random.default_rng(2)
    many = Samples.of([rng.lognormal(0, 0.3, 200) for _ in range(5)])
    one = Samples.of([rng.lognormal(0, 0.3, 200)])
    short = Samples.of([rng.lognormal(0, 0.3, 20)])
    found, reverse, none = (
        ratio(above, below, Bootstrap(1))
        for above, below in ((many, one), (one, many), (many, short))
    )
    assert found is not None
    assert reverse is not None
    assert none is not None
    assert (found.basis, reverse.basis, none.basis) == (Basis.BLOCKS, Basis.BLOCKS, None)


@given(
    st.lists(st.lists(st.floats(0.01, 1e3), min_size=40, max_size=80), min_size=3, max_size=6),
    st.sampled_from([0.1, 0.5, 0.75, 0.9]),
)
def test_interval_holds_its_value(starts: list[list[float]], p: float) -> None:
    """Whatever the data, the bounds of a quantile are on either side of it."""
    (found,) = quantiles(samples(*starts), (p,), Bootstrap(1))
    assert found is not None
    assert found.low is not None
    assert found.high is not None
    slack = 1e-9 * found.value
    assert found.low - slack <= found.value <= found.high + slack


def test_no_values_no_figure() -> None:
    """Nothing measured gives no mean, no quantile and no ratio."""
    nothing = samples()
    assert mean(nothing, Bootstrap(1)) is None
    assert quantiles(nothing, (0.5,), Bootstrap(1)) == (None,)
    assert ratio(nothing, samples([1.0]), Bootstrap(1)) is None


def test_starts_without_values_do_not_count() -> None:
    """A start that has no value of a figure is not one of its starts."""
    assert samples([1.0], [], [2.0]).starts == 2


def test_same_seed_same_interval() -> None:
    """Intervals are a pure function of the data and the run's seed."""
    data = samples(*(list(np.random.default_rng(i).normal(5, 1, 40)) for i in range(4)))
    assert mean(data, Bootstrap(3)) == mean(data, Bootstrap(3))
    assert mean(data, Bootstrap(3)) != mean(data, Bootstrap(4))


def test_equal_starts_have_no_width() -> None:
    """Where all starts agree, the interval is the value."""
    found = mean(samples([2.0], [2.0], [2.0]), Bootstrap(1))
    assert found is not None
    assert (found.value, found.low, found.high) == (2.0, 2.0, 2.0)


def test_starts_not_messages_make_the_interval() -> None:
    """Ten times the messages of the same starts do not narrow an interval."""
    levels = [1.0, 2.0, 3.0, 4.0]
    few = mean(samples(*([level] for level in levels)), Bootstrap(1))
    many = mean(samples(*([level] * 1000 for level in levels)), Bootstrap(1))
    assert few is not None
    assert many is not None
    assert few.low == pytest.approx(many.low)


def test_ratio_of_means() -> None:
    """A ratio of two figures is that of their means, with an interval around it."""
    found = ratio(samples([2.0], [4.0], [6.0]), samples([1.0], [2.0], [3.0]), Bootstrap(1))
    assert found is not None
    assert found.low is not None
    assert found.high is not None
    assert found.value == 2.0
    assert found.low < 2.0 < found.high
