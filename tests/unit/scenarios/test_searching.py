"""The search for a capacity: it brackets the true one, and says where it cannot, and why."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenarios.model import Search
from scenarios.search import (
    MOST,
    Bracket,
    Ending,
    Verdict,
    answer,
    bracket,
    confirmed,
    ending,
    next_rate,
    settled,
    votes,
)

HOLDS, FAILS, OPEN, LATE = Verdict.HOLDS, Verdict.FAILS, Verdict.OPEN, Verdict.LATE
SEARCH = Search(lowest_hz=50, highest_hz=3200, factor=1.1, limit_ms=15, probe_s=2, starts=100)
ROUNDING = 1.01
"""Rates are rounded to three digits."""
Probes = list[tuple[float, Verdict]]


def searched(says: Callable[[float, int], Verdict], search: Search = SEARCH) -> Probes:
    """The probes of a search whose starts say what ``says`` says of a rate and its turn."""
    probes: Probes = []
    while (rate_hz := next_rate(search, probes)) is not None:
        turn = sum(rate == rate_hz for rate, _ in probes)
        probes.append((rate_hz, says(rate_hz, turn)))
        assert len(probes) <= search.starts
    return probes


@given(
    capacity=st.floats(1, 10_000),
    factor=st.floats(1.02, 2),
    lowest=st.floats(10, 400),
    span=st.floats(1.5, 100),
)
def test_the_bracket_contains_the_capacity_of_a_monotone_flow(
    capacity: float, factor: float, lowest: float, span: float
) -> None:
    """Whatever it is, to the factor that was asked for, or beyond the end that it lies behind."""
    search = Search(lowest, lowest * span, factor, 15, 2, 100)
    probes = searched(lambda hz, _: HOLDS if hz <= capacity else FAILS, search)
    found = answer(probes)
    assert found.open_hz == ()
    assert ending(search, probes) is Ending.FOUND
    if found.held_hz is None:
        assert found.failed_hz == lowest > capacity
    elif found.failed_hz is None:
        assert found.held_hz == search.highest_hz <= capacity
    else:
        assert found.held_hz <= capacity < found.failed_hz
        assert found.failed_hz / found.held_hz <= factor * ROUNDING


class Noisy:
    """A flow of that capacity: of a rate's starts, at most one says the opposite.

    Near the capacity, and where the machine is busy, starts say nothing.
    """

    def __init__(self, capacity: float, seed: int, wrong: float, silent: float, near: float):
        self.capacity, self.wrong, self.silent, self.near = capacity, wrong, silent, near
        self._drawn = random.Random(seed)
        self._wrong_at: set[float] = set()

    @property
    def wrongs(self) -> int:
        """How many starts have said the opposite."""
        return len(self._wrong_at)

    def __call__(self, hz: float, _turn: int) -> Verdict:
        """What a start at that rate says."""
        if self._drawn.random() < self.silent:
            return self._drawn.choice((OPEN, LATE))
        if 1 / self.near < hz / self.capacity < self.near and self._drawn.random() < 0.7:
            return OPEN
        if hz not in self._wrong_at and self._drawn.random() < self.wrong:
            self._wrong_at.add(hz)
            return FAILS if hz <= self.capacity else HOLDS
        return HOLDS if hz <= self.capacity else FAILS


@given(
    capacity=st.floats(60, 3000),
    seed=st.integers(0, 2**32),
    wrong=st.sampled_from((0.0, 0.1, 0.3)),
    silent=st.sampled_from((0.0, 0.1, 0.3)),
    near=st.sampled_from((1.001, 1.05, 1.2)),
    starts=st.integers(4, 40),
)
def test_a_noisy_flow_is_bracketed_or_the_reason_is_named(
    capacity: float, seed: int, wrong: float, silent: float, near: float, starts: int
) -> None:
    """The capacity lies within, and a bracket wider than asked says why it is."""
    search = Search(50, 3200, 1.1, 15, 2, starts)
    flow = Noisy(capacity, seed, wrong, silent, near)
    probes = searched(flow, search)
    found, why = answer(probes), ending(search, probes)
    # Before both ends have two starts of their own, two wrong ones at two rates go unseen.
    if why is not Ending.CAP or flow.wrongs <= 1:
        assert found.held_hz is None or found.held_hz <= capacity
        assert found.failed_hz is None or found.failed_hz > capacity
    assert why is not Ending.CUT
    both = found.held_hz is not None and found.failed_hz is not None
    if why is Ending.FOUND:
        at_an_end = found.held_hz == search.highest_hz or found.failed_hz == search.lowest_hz
        assert both or at_an_end
    if both and (found.failed_hz or 0) / (found.held_hz or 1) > search.factor * ROUNDING:
        assert why in (Ending.CAP, Ending.UNDECIDED)
    if why is Ending.UNDECIDED:
        assert found.open_hz
    for end_hz in (found.held_hz, found.failed_hz):
        if why is not Ending.CAP:
            assert end_hz is None or sum(rate == end_hz for rate, _ in probes) >= 2


@given(verdicts=st.lists(st.sampled_from(Verdict), max_size=60), starts=st.integers(4, 60))
def test_it_ends_whatever_the_starts_say(verdicts: list[Verdict], starts: int) -> None:
    """Nothing is tried more than four times, and what held lies below what did not."""
    said = iter(verdicts)
    search = Search(50, 3200, 1.1, 15, 2, starts)
    probes = searched(lambda _hz, _turn: next(said, OPEN), search)
    assert max(Counter(rate for rate, _ in probes).values()) <= MOST
    for found in (answer(probes), bracket(probes)):
        if found.held_hz is not None and found.failed_hz is not None:
            assert found.held_hz < found.failed_hz


@given(capacity=st.floats(60, 3000), reach=st.floats(60, 3000))
def test_a_generator_that_cannot_follow_is_no_flow_that_does_not_hold(
    capacity: float, reach: float
) -> None:
    """Beyond its reach nothing is decided; what failed, failed within it."""

    def says(hz: float, _turn: int) -> Verdict:
        if hz > reach:
            return LATE
        return HOLDS if hz <= capacity else FAILS

    probes = searched(says)
    found = answer(probes)
    assert found.held_hz is None or found.held_hz <= min(capacity, reach)
    assert found.failed_hz is None or capacity < found.failed_hz <= reach
    if reach < capacity:
        assert found.failed_hz is None
        assert found.open_hz
        assert ending(SEARCH, probes) is Ending.UNDECIDED


def test_a_search_goes_on_below_and_above_an_undecided_rate() -> None:
    """A middle that says nothing leaves no bracket wider than asked: both its sides are tried."""
    silent = 519.0
    search = Search(200, 3200, 1.1, 15, 2, 40)

    def says(hz: float, _turn: int) -> Verdict:
        return OPEN if hz == silent else HOLDS if hz <= 530 else FAILS

    probes = searched(says, search)
    found = answer(probes)
    assert silent in votes(probes)
    assert found.held_hz is not None
    assert found.failed_hz is not None
    assert found.held_hz <= 530 < found.failed_hz <= search.factor * found.held_hz * ROUNDING
    assert ending(search, probes) is Ending.FOUND


def test_a_wide_zone_that_is_undecided_is_named() -> None:
    """Neither end lies in it, both lie next to it, and it is why the bracket is wide."""
    probes = searched(lambda hz, _: HOLDS if hz < 90 else OPEN if hz < 150 else FAILS)
    found = answer(probes)
    assert found.held_hz is not None
    assert found.failed_hz is not None
    assert found.held_hz < 90 <= found.open_hz[0] <= found.open_hz[-1] < 150 <= found.failed_hz
    assert found.open_hz[0] / found.held_hz <= 1.1**0.5 * ROUNDING
    assert found.failed_hz / found.open_hz[-1] <= 1.1**0.5 * ROUNDING
    assert ending(SEARCH, probes) is Ending.UNDECIDED
    assert answer([]) == bracket([]) == Bracket(None, None)


@pytest.mark.parametrize("starts", range(4, 9))
def test_a_search_that_is_ended_by_its_cap_keeps_its_last_starts_for_both_ends(starts: int) -> None:
    """The bracket is wider than asked, both its ends are confirmed, and the cap is named."""
    search = Search(100, 3200, 1.01, 15, 2, starts)
    probes = searched(lambda hz, _: HOLDS if hz <= 150 else FAILS, search)
    found = answer(probes)
    assert found.held_hz is not None
    assert found.failed_hz is not None
    assert found.held_hz <= 150 < found.failed_hz
    assert found.failed_hz > 1.01 * found.held_hz
    assert ending(search, probes) is Ending.CAP


def test_a_cap_that_confirms_neither_end_leaves_all_undecided() -> None:
    """Four starts, none of which says the same of one rate as another."""
    said = {50: [HOLDS, FAILS, HOLDS, FAILS]}
    search = Search(50, 3200, 1.1, 15, 2, 4)
    probes = [(50.0, one) for one in said[50]]
    assert answer(probes) == Bracket(None, None, (50.0,))
    assert ending(search, probes) is Ending.CAP


def test_what_held_higher_up_confirms_what_held_below() -> None:
    """One start each at two rates; a rate above the last that is sure stays undecided."""
    held = answer([(200.0, HOLDS), (400.0, HOLDS), (800.0, OPEN)])
    assert held == Bracket(200.0, None, (400.0, 800.0))
    assert answer([(400.0, FAILS), (300.0, FAILS)]) == Bracket(None, 400.0, (300.0,))
    assert answer([(400.0, HOLDS), (300.0, FAILS), (500.0, HOLDS)]).held_hz == 400.0


def test_a_search_that_was_cut_short_is_no_search_that_ended() -> None:
    """Every beginning of one says so."""
    probes = searched(lambda hz, _: HOLDS if hz <= 500 else FAILS)
    for made in range(len(probes)):
        assert ending(SEARCH, probes[:made]) is Ending.CUT
    assert ending(SEARCH, probes) is Ending.FOUND


def test_both_ends_are_tried_again_and_one_bad_start_is_outvoted() -> None:
    """A single hiccup at a rate that holds moves the answer nowhere."""
    held_hz = answer(searched(lambda hz, _: HOLDS if hz <= 500 else FAILS)).held_hz

    def says(hz: float, turn: int) -> Verdict:
        if hz > 500 or (hz == held_hz and turn == 1):
            return FAILS
        return HOLDS

    probes = searched(says)
    counted = Counter(rate for rate, _ in probes)
    found = answer(probes)
    assert found.held_hz == held_hz
    assert found.failed_hz is not None
    assert (counted[found.held_hz or 0], counted[found.failed_hz]) == (3, 2)


@pytest.mark.parametrize(
    ("verdicts", "says", "sure"),
    [
        ([HOLDS], HOLDS, OPEN),
        ([HOLDS, HOLDS], HOLDS, HOLDS),
        ([FAILS, HOLDS], OPEN, OPEN),
        ([FAILS, HOLDS, FAILS], FAILS, FAILS),
        ([OPEN, LATE, FAILS], FAILS, OPEN),
        ([OPEN, LATE, OPEN, FAILS], OPEN, OPEN),
        ([LATE, LATE], LATE, LATE),
        ([LATE, OPEN], OPEN, OPEN),
    ],
)
def test_starts_of_a_rate_vote(verdicts: list[Verdict], says: Verdict, sure: Verdict) -> None:
    """Most decide; sure is what two say; after four starts, one vote is none."""
    assert (settled(verdicts), confirmed(verdicts)) == (says, sure)
