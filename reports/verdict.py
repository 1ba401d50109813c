"""The three-valued verdict, and how an interval and a target decide it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from reports.render.numbers import plain, reading, rests_on
from reports.stats import MIN_STARTS, Basis, Estimate
from scenarios.model import Target


class Verdict(StrEnum):
    """What the measurements say of a claim. Missing data is undecided, never met."""

    MET = "met"
    MISSED = "missed"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True)
class Decision:
    """A verdict, its reason in words, and the figure it rests on (None: an observation).

    ``starts`` and ``messages`` are the figure's; None where all of the scenario's were looked at.
    """

    verdict: Verdict
    reason: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    starts: int | None = None
    messages: int | None = None


def undecided(reason: str) -> Decision:
    """A decision that could not be made."""
    return Decision(Verdict.UNDECIDED, reason)


def side(estimate: Estimate, target: Target) -> Verdict:
    """Met when the interval lies on the good side of the limit, missed when on the bad side.

    The limit itself is good. Undecided where the interval spans it, or where there is none.
    """
    return within(
        estimate,
        low=None if target.upper else target.limit,
        high=target.limit if target.upper else None,
    )


def within(estimate: Estimate, *, low: float | None, high: float | None) -> Verdict:
    """Whether the interval lies inside a band, outside of it, or across one of its edges.

    An interval from blocks within the starts knows nothing of other starts: it decides nothing.
    """
    if estimate.low is None or estimate.high is None or estimate.basis is not Basis.STARTS:
        return Verdict.UNDECIDED
    if (low is not None and estimate.high < low) or (high is not None and estimate.low > high):
        return Verdict.MISSED
    if (low is None or estimate.low >= low) and (high is None or estimate.high <= high):
        return Verdict.MET
    return Verdict.UNDECIDED


def all_of(verdicts: list[Verdict]) -> Verdict:
    """Missed when one is missed, met when all are met (and there are any)."""
    if Verdict.MISSED in verdicts:
        return Verdict.MISSED
    if verdicts and all(verdict is Verdict.MET for verdict in verdicts):
        return Verdict.MET
    return Verdict.UNDECIDED


def decide(estimate: Estimate | None, target: Target, what: str, more: str = "") -> Decision:
    """Decide a claim by one figure. ``what`` names it, ``more`` is added to the reason."""
    if estimate is None:
        return undecided(f"{what} was not measured")
    verdict = side(estimate, target)
    reason = f"{what} {describe(estimate, target.unit)}"
    if verdict is Verdict.UNDECIDED:
        reason += f"; {why_open([estimate], target)}"
    if more:
        reason += f"; {more}"
    return resting_on(estimate, verdict, reason)


def resting_on(estimate: Estimate, verdict: Verdict, reason: str) -> Decision:
    """A decision that rests on one figure; of an interval that cannot decide, it has no bounds."""
    counts = (estimate.starts, estimate.count)
    if estimate.basis is not Basis.STARTS:
        return Decision(verdict, reason, estimate.value, None, None, *counts)
    return Decision(verdict, reason, estimate.value, estimate.low, estimate.high, *counts)


def why_open(estimates: list[Estimate], target: Target) -> str:
    """What keeps figures from deciding: too few starts, or an interval across the limit."""
    if any(estimate.basis is not Basis.STARTS for estimate in estimates):
        return f"fewer than {MIN_STARTS} starts decide nothing"
    limit = f"{number(target.limit)} {target.unit}"
    if len(estimates) == 1:
        return f"the interval spans the limit of {limit}"
    return f"not every interval is on one side of {limit}"


def describe(estimate: Estimate, unit: str) -> str:
    """A figure in words, with its interval and what it rests on."""
    return plain(
        reading(
            estimate.value, estimate.low, estimate.high, unit,
            of=rests_on(estimate.starts, estimate.count), basis=estimate.basis,
        ).words()
    )  # fmt: skip


def describe_one(value: float, unit: str, *, starts: int, messages: int) -> str:
    """The largest, the longest, or another single observation, in words."""
    of = rests_on(starts, messages)
    return plain(reading(value, None, None, unit, of=of, why="single").words())


def number(value: float) -> str:
    """A number with three significant digits and no exponent."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:.0f}"
    if abs(value) < 0.0001:
        return f"{value:.1e}"
    return f"{float(f'{value:.3g}'):.10f}".rstrip("0").rstrip(".")
