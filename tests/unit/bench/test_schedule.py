"""The open-loop schedule."""

from __future__ import annotations

import statistics
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from bench.load.schedule import build_schedule, deal
from runtime.errors import InputError


def test_constant_gaps() -> None:
    """Constant arrivals are 1/rate apart."""
    schedule = build_schedule(
        seed=1, arrivals="constant", rate_hz=50.0, delays_ms=[0.0], messages_per_cell=4
    )
    assert [arrival.offset_ns for arrival in schedule] == [0, 20_000_000, 40_000_000, 60_000_000]


def test_poisson_gaps_are_exponential() -> None:
    """Poisson gaps have the rate's mean, and a standard deviation that equals it."""
    schedule = build_schedule(
        seed=7, arrivals="poisson", rate_hz=50.0, delays_ms=[0.0], messages_per_cell=20_000
    )
    offsets = [arrival.offset_ns / 1e6 for arrival in schedule]
    gaps = [b - a for a, b in pairwise(offsets)]
    assert statistics.mean(gaps) == pytest.approx(20.0, rel=0.03)
    assert statistics.stdev(gaps) == pytest.approx(20.0, rel=0.03)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("rate_hz", [2.0, 50.0, 5000.0])
def test_poisson_arrivals_have_their_distribution(seed: int, rate_hz: float) -> None:
    """Gaps pass a Kolmogorov-Smirnov test, counts are as dispersed as Poisson's, gaps unrelated.

    The rate is within four standard errors of the one that was asked for.
    """
    n = 5000
    schedule = build_schedule(
        seed=seed, arrivals="poisson", rate_hz=rate_hz, delays_ms=[0.0, 0.0],
        messages_per_cell=n // 2,
    )  # fmt: skip
    at_s = np.array([arrival.offset_ns for arrival in schedule]) / 1e9
    gaps_s = np.diff(at_s)
    assert stats.kstest(gaps_s, "expon", args=(0, 1 / rate_hz)).pvalue > 0.001
    assert gaps_s.mean() * rate_hz == pytest.approx(1.0, abs=4 / n**0.5)
    counts = np.histogram(at_s, bins=np.arange(0, at_s[-1], 10 / rate_hz))[0]
    dispersion = ((counts - counts.mean()) ** 2).sum() / counts.mean()
    assert stats.chi2.sf(dispersion, len(counts) - 1) > 0.001
    assert stats.chi2.cdf(dispersion, len(counts) - 1) > 0.001
    assert stats.pearsonr(gaps_s[1:], gaps_s[:-1]).pvalue > 0.001


@pytest.mark.parametrize("rate_hz", [3.0, 50.0, 7000.0])
def test_constant_arrivals_do_not_drift(rate_hz: float) -> None:
    """Message n is due n/rate after the first one, however many there are."""
    schedule = build_schedule(
        seed=1, arrivals="constant", rate_hz=rate_hz, delays_ms=[0.0], messages_per_cell=20_000
    )
    due_ns = np.arange(20_000) / rate_hz * 1e9
    assert np.abs(np.array([arrival.offset_ns for arrival in schedule]) - due_ns).max() < 1_000


@given(st.integers(0, 2**31), st.integers(1, 8), st.integers(1, 30), st.integers(1, 3))
def test_a_schedule_that_is_dealt_is_whole(
    seed: int, parts: int, messages: int, cells: int
) -> None:
    """The shares together are the schedule: each arrival once, where it was, at most one apart."""
    schedule = build_schedule(
        seed=seed, arrivals="poisson", rate_hz=100.0, delays_ms=[0.0] * cells,
        messages_per_cell=messages,
    )  # fmt: skip
    shares = [deal(schedule, part, parts) for part in range(parts)]
    assert sorted(pair for share in shares for pair in share) == list(enumerate(schedule))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize("part", [-1, 2])
def test_a_part_that_there_is_not(part: int) -> None:
    """A part outside of the parts is refused, not silently empty."""
    with pytest.raises(InputError, match=f"no part {part} of 2"):
        deal((), part, 2)


@given(st.integers(0, 2**31), st.integers(1, 5), st.integers(1, 20))
def test_every_cell_gets_its_messages(seed: int, cells: int, messages: int) -> None:
    """Each cell appears as often as asked; instants never go back; the seed decides everything."""
    arguments = {
        "seed": seed, "arrivals": "poisson", "rate_hz": 10.0,
        "delays_ms": [0.0] * cells, "messages_per_cell": messages,
    }  # fmt: skip
    schedule = build_schedule(**arguments)  # type: ignore[arg-type]
    assert sorted(a.cell for a in schedule) == sorted(list(range(cells)) * messages)
    offsets = [arrival.offset_ns for arrival in schedule]
    assert offsets == sorted(offsets)
    assert schedule == build_schedule(**arguments)  # type: ignore[arg-type]


def test_a_cells_delay_widens_the_gap_after_it() -> None:
    """A message that waits for an API does not make the next one queue behind it."""
    schedule = build_schedule(
        seed=3, arrivals="constant", rate_hz=10.0, delays_ms=[0.0, 350.0], messages_per_cell=5
    )
    for one, following in pairwise(schedule):
        gap_ms = (following.offset_ns - one.offset_ns) / 1e6
        assert gap_ms == pytest.approx(450.0 if one.cell == 1 else 100.0, abs=0.001)


@pytest.mark.parametrize(
    ("rate_hz", "messages", "delays_ms"), [(0.0, 1, [0.0]), (1.0, 0, [0.0]), (1.0, 1, [])]
)
def test_nothing_to_schedule(rate_hz: float, messages: int, delays_ms: list[float]) -> None:
    """An empty schedule is refused."""
    with pytest.raises(InputError):
        build_schedule(
            seed=1, arrivals="constant", rate_hz=rate_hz, delays_ms=delays_ms,
            messages_per_cell=messages,
        )  # fmt: skip
