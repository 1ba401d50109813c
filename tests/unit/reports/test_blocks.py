"""The autocorrelation time of a start, and the blocks that it is cut into."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import signal

from reports.blocks import LENGTH, MAX_BLOCKS, MIN_BLOCKS, blocks, correlation_time


def ar1(phi: float, count: int, seed: int) -> np.ndarray:
    """Gaussian values of variance 1, each correlated to the one before it by ``phi``."""
    noise = np.random.default_rng(seed).normal(0, np.sqrt(1 - phi**2), count + 500)
    return np.asarray(signal.lfilter([1], [1, -phi], noise))[500:]


@pytest.mark.parametrize("phi", [0.0, 0.5, 0.8, 0.95])
@pytest.mark.parametrize("count", [4000, 50_000])
def test_correlation_time_of_ar1(phi: float, count: int) -> None:
    """Of AR(1) it is (1 + phi) / (1 - phi), whatever the marginal; to a step where points are."""
    expected = (1 + phi) / (1 - phi)
    found = correlation_time(np.exp(ar1(phi, count, 1)))
    step = -(-count // 4096)
    assert found == pytest.approx(expected, rel=0.3, abs=0.3 if step == 1 else step)


def test_an_outlier_does_not_hide_correlation() -> None:
    """One latency a thousand times the others leaves the autocorrelation time what it was."""
    series = np.exp(ar1(0.8, 2000, 2))
    before = correlation_time(series)
    series[700] *= 1000
    assert correlation_time(series) == pytest.approx(before, rel=0.1)


def test_constant_series_has_one() -> None:
    """Where nothing varies, nothing is correlated."""
    assert correlation_time(np.full(500, 2.0)) == 1.0


def test_blocks_grow_with_correlation() -> None:
    """Independent messages make the most blocks; blocks of correlated ones last LENGTH times."""
    sizes = np.array([2000])
    independent = blocks(ar1(0.0, 2000, 3), sizes, 1)
    alike = ar1(0.9, 2000, 3)
    correlated = blocks(alike, sizes, 1)
    assert independent is not None
    assert correlated is not None
    assert independent.sizes.size == MAX_BLOCKS
    assert 1.0 <= independent.stretch < 1.01
    assert 1.03 < correlated.stretch < 1.06
    assert correlated.sizes.mean() == pytest.approx(LENGTH * correlation_time(alike), rel=0.2)


def test_too_short_or_too_alike_for_blocks() -> None:
    """No blocks of 99 messages, nor of 200 that drift throughout."""
    assert blocks(ar1(0.0, 99, 4), np.array([99]), 1) is None
    assert blocks(np.arange(200.0), np.array([200]), 1) is None


@given(
    st.lists(st.integers(1, 400), min_size=1, max_size=2),
    st.integers(1, 4),
    st.floats(0.0, 0.95),
)
def test_blocks_cut_neither_starts_nor_messages(starts: list[int], width: int, phi: float) -> None:
    """Blocks cover all values; the end of a start is the end of a block, and so is a message's."""
    messages = sum(starts)
    values = np.repeat(ar1(phi, messages, 5), width)
    found = blocks(values, np.array(starts) * width, width)
    if found is None:
        return
    ends = np.cumsum(found.sizes)
    assert ends[-1] == values.size
    assert set(np.cumsum(starts) * width) <= set(ends)
    assert (found.sizes % width == 0).all()
    assert (found.sizes > 0).all()
    assert found.sizes.size >= min(MIN_BLOCKS, messages)
