"""The open-loop schedule."""

from __future__ import annotations

import statistics
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.load.schedule import build_schedule
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
