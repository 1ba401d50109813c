"""Verdicts from intervals."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.stats import Basis, Estimate
from reports.verdict import Verdict, all_of, decide, number, side, within
from scenarios.model import Target

MET, MISSED, UNDECIDED = Verdict.MET, Verdict.MISSED, Verdict.UNDECIDED


def estimate(low: float | None, high: float | None) -> Estimate:
    """An estimate with these bounds."""
    return Estimate(1.0, low, high, 5, 100, None if low is None else Basis.STARTS)


def target(limit: float, *, upper: bool = True) -> Target:
    """A bound in ms."""
    return Target("hop_mean_ms", limit, "ms", upper)


@pytest.mark.parametrize(
    ("low", "high", "upper", "expected"),
    [
        (1.0, 2.0, True, MET),
        (1.0, 15.0, True, MET),
        (14.0, 15.1, True, UNDECIDED),
        (15.0, 16.0, True, UNDECIDED),
        (15.1, 16.0, True, MISSED),
        (16.0, 17.0, False, MET),
        (15.0, 16.0, False, MET),
        (14.0, 16.0, False, UNDECIDED),
        (14.0, 15.0, False, UNDECIDED),
        (13.0, 14.9, False, MISSED),
        (None, None, True, UNDECIDED),
    ],
)
def test_side_of_a_limit_of_15(
    low: float | None, high: float | None, upper: bool, expected: Verdict
) -> None:
    """Met on the good side, the limit included; missed on the bad side; undecided across."""
    assert expected is side(estimate(low, high), target(15.0, upper=upper))


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(100, 400, MET), (50, 99, MISSED), (401, 500, MISSED), (90, 110, UNDECIDED),
     (390, 410, UNDECIDED), (50, 500, UNDECIDED)],
)  # fmt: skip
def test_band(low: float, high: float, expected: Verdict) -> None:
    """Inside a band is met, outside on either side missed, across an edge undecided."""
    assert expected is within(estimate(low, high), low=100, high=400)


@given(st.floats(-1e6, 1e6), st.floats(0, 1e6), st.floats(-1e6, 1e6))
def test_never_both(low: float, width: float, limit: float) -> None:
    """An interval that meets an upper bound does not miss the same lower bound by more."""
    found = estimate(low, low + width)
    upper, lower = side(found, target(limit)), side(found, target(limit, upper=False))
    assert (upper, lower) != (MISSED, MISSED)
    if low + width < limit:
        assert (upper, lower) == (MET, MISSED)


def test_all_of() -> None:
    """One miss decides; being met needs all, and at least one."""
    assert MISSED is all_of([MET, UNDECIDED, MISSED])
    assert UNDECIDED is all_of([MET, UNDECIDED])
    assert MET is all_of([MET, MET])
    assert UNDECIDED is all_of([])


def test_reasons_say_why_not() -> None:
    """An undecided reason says whether starts are missing or the limit is inside."""
    few = decide(Estimate(1.0, None, None, 2, 9, None), target(15), "mean hop")
    across = decide(estimate(14, 16), target(15), "mean hop")
    none = decide(None, target(15), "mean hop")
    assert "fewer than 3 starts" in few.reason
    assert "spans the limit of 15 ms" in across.reason
    assert "not measured" in none.reason
    assert [few.verdict, across.verdict, none.verdict] == [UNDECIDED] * 3


@pytest.mark.parametrize("limit", [0.5, 15.0])
def test_blocks_decide_nothing(limit: float) -> None:
    """An interval over blocks of messages neither meets nor misses a limit, however far it lies."""
    found = decide(Estimate(1.0, 0.9, 1.1, 1, 500, Basis.BLOCKS), target(limit), "mean hop")
    assert (found.verdict, found.value, found.low, found.high) == (UNDECIDED, 1.0, None, None)
    assert (
        "1.00 ms (0.90 to 1.10 ms, within these starts only; 1 start, 500 messages)" in found.reason
    )
    assert "fewer than 3 starts" in found.reason


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (0.78123, "0.781"), (15.0, "15"), (332.49, "332"), (0.00283679, "0.00284"),
     (4869.4, "4869"), (-1.5, "-1.5"), (0.0000012, "1.2e-06")],
)  # fmt: skip
def test_number(value: float, text: str) -> None:
    """Numbers in reasons have three significant digits."""
    assert text == number(value)
