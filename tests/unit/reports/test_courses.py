"""Where levels change: our search beside the one of a library that is slow to import."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import ruptures
from hypothesis import given
from hypothesis import strategies as st

from reports.courses import Floats, level_bounds


def levels(seed: int, sizes: list[int], spread: float) -> Floats:
    """A noisy series of levels of these sizes."""
    random = np.random.default_rng(seed)
    heights = random.normal(0, spread, len(sizes))
    return np.repeat(heights, sizes) + random.normal(0, 1, sum(sizes))


def price(series: Floats, bounds: list[int], penalty: float) -> float:
    """What is minimised."""
    parts = [series[begin:end] for begin, end in itertools.pairwise(bounds)]
    return float(sum(np.square(part - part.mean()).sum() + penalty for part in parts))


@given(
    st.integers(0, 2**32 - 1),
    st.lists(st.integers(1, 60), min_size=1, max_size=7).filter(lambda sizes: sum(sizes) > 1),
    st.sampled_from([0.1, 1.0, 3.0, 30.0]),
    st.sampled_from([0.5, 5.0, 50.0]),
)
def test_levels_are_those_that_ruptures_finds(
    seed: int, sizes: list[int], spread: float, penalty: float
) -> None:
    """The same places, by PELT with a linear kernel, which is exact, too."""
    series = levels(seed, sizes, spread)
    search = ruptures.KernelCPD(kernel="linear", min_size=1).fit(series.reshape(-1, 1))
    theirs = [0, *map(int, search.predict(pen=penalty))]
    ours = level_bounds(series, penalty)
    assert ours[0] == 0
    assert ours[-1] == series.size
    assert price(series, ours, penalty) == pytest.approx(price(series, theirs, penalty), rel=1e-9)
    assert ours == theirs


def test_what_is_far_from_zero_is_found_as_well() -> None:
    """Differences of sums of squares lose nothing: the series is centred first."""
    series = levels(1, [40, 30, 50], 30.0)
    assert level_bounds(series + 1e7, 50.0) == level_bounds(series, 50.0) == [0, 40, 70, 120]


@pytest.mark.parametrize("size", [1, 2, 5])
def test_a_short_flat_series_is_one_level(size: int) -> None:
    """Whatever its length."""
    assert level_bounds(np.ones(size), 1.0) == [0, size]
