"""The search for the highest rate that a flow holds: which rate comes next, and what is found.

A rate's starts vote. From one vote on it is known where the search goes; what the answer rests on,
the two ends of the bracket, needs two votes, and more for it than against it. Rates first double,
then halve the bracket on a logarithmic scale. A rate that is undecided ends nothing: the search
goes on below it and above it. The last starts of a search are kept for the ends of its bracket.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from scenarios.model import Search

VOTES = 2
"""Starts that must agree at either end of the bracket."""
MOST = 4
"""Starts of one rate at most."""
_DIGITS = 3


class Verdict(StrEnum):
    """What one start, or all starts of a rate, say of it.

    ``LATE``: the load generator did not keep to its schedule, so the flow was not asked.
    """

    HOLDS = "holds"
    FAILS = "does not hold"
    OPEN = "undecided"
    LATE = "generator late"


class Ending(StrEnum):
    """Why a search has no more starts.

    ``UNDECIDED``: all that is left to try lies next to rates that could not be decided.
    """

    FOUND = "found"
    UNDECIDED = "undecided rates"
    CAP = "cap"
    CUT = "cut short"


@dataclass(frozen=True, slots=True)
class Bracket:
    """``held_hz`` is the highest rate that held, below the lowest that did not, ``failed_hz``.

    ``open_hz`` are the rates between the two (where one is missing: all beyond the other) that
    were tried and not decided. None: there is none.
    """

    held_hz: float | None
    failed_hz: float | None
    open_hz: tuple[float, ...] = ()


Probes = Sequence[tuple[float, Verdict]]
"""The rate of each start, and what it said, in the order of the starts."""


def votes(probes: Probes) -> dict[float, list[Verdict]]:
    """The verdicts of each rate's starts, by rate, in rising order."""
    found: dict[float, list[Verdict]] = {}
    for rate_hz, verdict in probes:
        found.setdefault(rate_hz, []).append(verdict)
    return dict(sorted(found.items()))


def settled(verdicts: Sequence[Verdict]) -> Verdict:
    """What most of the decided starts of a rate say; undecided where as many say the opposite.

    Where a rate has had all its starts, one vote is not enough.
    """
    holds, fails = verdicts.count(Verdict.HOLDS), verdicts.count(Verdict.FAILS)
    if holds != fails and (len(verdicts) < MOST or max(holds, fails) >= VOTES):
        return Verdict.HOLDS if holds > fails else Verdict.FAILS
    return Verdict.LATE if verdicts and set(verdicts) == {Verdict.LATE} else Verdict.OPEN


def confirmed(verdicts: Sequence[Verdict]) -> Verdict:
    """The same, undecided where fewer than two starts say so."""
    verdict = settled(verdicts)
    return verdict if verdicts.count(verdict) >= VOTES else Verdict.OPEN


def bracket(probes: Probes) -> Bracket:
    """What is known by now, be it by one start."""
    return _bracket({rate_hz: settled(verdicts) for rate_hz, verdicts in votes(probes).items()})


def answer(probes: Probes) -> Bracket:
    """What a search has found: two starts say so at either end, and more than say otherwise.

    Where a search was ended before it could confirm a rate, a start that held at a higher one
    speaks for it as well, and so does one that failed at a lower one for a rate that failed.
    """
    by_rate = votes(probes)
    said = {rate_hz: _supported(rate_hz, by_rate) for rate_hz in by_rate}
    return _bracket(said)


def _supported(rate_hz: float, by_rate: Mapping[float, Sequence[Verdict]]) -> Verdict:
    """What a rate's starts say, if two do, counting those that would have to say it, too."""
    verdict = settled(by_rate[rate_hz])
    if verdict in (Verdict.OPEN, Verdict.LATE) or confirmed(by_rate[rate_hz]) is verdict:
        return verdict
    holds = sum(one.count(Verdict.HOLDS) for hz, one in by_rate.items() if hz >= rate_hz)
    fails = sum(one.count(Verdict.FAILS) for hz, one in by_rate.items() if hz <= rate_hz)
    says, against = (holds, fails) if verdict is Verdict.HOLDS else (fails, holds)
    return verdict if says >= VOTES and says > against else Verdict.OPEN


def ending(search: Search, probes: Probes) -> Ending:
    """Why the search made no more starts than these."""
    if next_rate(search, probes) is not None:
        return Ending.CUT
    if _due(search, probes, math.inf) is not None:
        return Ending.CAP
    found = answer(probes)
    wide = found.held_hz is None or found.failed_hz is None or _wide(search, found)
    return Ending.UNDECIDED if found.open_hz and wide else Ending.FOUND


def next_rate(search: Search, probes: Probes) -> float | None:
    """The rate to try next; None where the bracket is as narrow as can be, and sure."""
    if not probes:
        return search.lowest_hz
    return _due(search, probes, search.starts - len(probes))


def _bracket(said: Mapping[float, Verdict]) -> Bracket:
    failed_hz = min((hz for hz, one in said.items() if one is Verdict.FAILS), default=None)
    below = {hz: one for hz, one in said.items() if failed_hz is None or hz < failed_hz}
    held_hz = max((hz for hz, one in below.items() if one is Verdict.HOLDS), default=None)
    return Bracket(held_hz, failed_hz, tuple(hz for hz in below if hz > (held_hz or 0)))


def _due(search: Search, probes: Probes, left: float) -> float | None:
    """The next rate where so many starts are ``left``."""
    by_rate, known = votes(probes), bracket(probes)
    ends = [hz for hz in (known.held_hz, known.failed_hz) if hz is not None]
    lacking = [hz for hz in ends if confirmed(by_rate[hz]) is Verdict.OPEN]
    confirming = min(lacking, key=lambda hz: len(by_rate[hz]), default=None)
    if left <= len(lacking):
        return confirming if left > 0 else None
    for rate_hz in known.open_hz:
        if _again(by_rate[rate_hz], known):
            return rate_hz
    middle_hz = _middle(search, by_rate, known)
    # A new rate becomes an end of the bracket, and needs its votes as the other end does.
    if middle_hz is not None and left >= VOTES + min(len(lacking), 1):
        return middle_hz
    return confirming


def _again(verdicts: Sequence[Verdict], known: Bracket) -> bool:
    """Whether an undecided rate is worth another start at once, rather than one beside it."""
    contested = Verdict.HOLDS in verdicts or Verdict.FAILS in verdicts
    alone = known.held_hz is known.failed_hz is None
    return len(verdicts) < (MOST if contested or alone else VOTES)


def _middle(
    search: Search, by_rate: Mapping[float, Sequence[Verdict]], known: Bracket
) -> float | None:
    """A rate that was not tried yet and would narrow the bracket; None where none has to."""
    held_hz, failed_hz, unsure = known.held_hz, known.failed_hz, known.open_hz
    if failed_hz is None:
        top_hz = unsure[-1] if unsure else held_hz
        assert top_hz is not None
        if Verdict.LATE not in by_rate[top_hz] or settled(by_rate[top_hz]) is Verdict.HOLDS:
            return min(2 * top_hz, search.highest_hz) if top_hz < search.highest_hz else None
        return None if held_hz is None else _split([(held_hz, unsure[0])], search.factor)
    if held_hz is not None and not _wide(search, known):
        return None
    if not unsure:
        return None if held_hz is None else _split([(held_hz, failed_hz)], search.factor)
    gaps = [(unsure[-1], failed_hz)]
    if held_hz is not None:
        gaps.append((held_hz, unsure[0]))
    # Two gaps of the root of the factor make a bracket of the factor, if all else is decided.
    return _split(gaps, math.sqrt(search.factor))


def _wide(search: Search, known: Bracket) -> bool:
    assert known.held_hz is not None
    assert known.failed_hz is not None
    return known.failed_hz / known.held_hz > search.factor


def _split(gaps: Sequence[tuple[float, float]], factor: float) -> float | None:
    """The middle of the widest gap; None where each is as narrow as ``factor``."""
    low_hz, high_hz = max(gaps, key=lambda gap: gap[1] / gap[0])
    middle_hz = float(f"{math.sqrt(low_hz * high_hz):.{_DIGITS}g}")
    if high_hz / low_hz <= factor or not low_hz < middle_hz < high_hz:
        return None
    return middle_hz
