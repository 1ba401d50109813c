"""The words of the meter certificate: what a check has shown, and the figures it rests on.

Intervals are Student's t over starts, the unit of repetition: over the differences of pairs where
both sides were measured in each start, else B. L. Welch's for two groups of unlike variance ("The
generalization of Student's problem", Biometrika 1947). Below three starts there is none.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import special

from reports.stats import CONFIDENCE, MIN_STARTS, quantile
from reports.verdict import number

Floats = npt.NDArray[np.float64]
ByStart = Mapping[int, Floats]
"""Values of one figure, by the start (trial) that they were measured in."""
Json = dict[str, Any]
Of = Callable[[Floats], float]


class Shown(StrEnum):
    """What a check says of the meter. Missing data is undecided, never shown."""

    SHOWN = "shown"
    NOT_SHOWN = "not shown"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure with its interval; bounds are None below three starts."""

    value: float
    low: float | None
    high: float | None
    unit: str
    starts: int
    messages: int

    def document(self) -> Json:
        """As the certificate stores it."""
        return {
            "value": self.value, "low": self.low, "high": self.high, "unit": self.unit,
            "starts": self.starts, "messages": self.messages,
            "basis": "starts" if self.low is not None else None,
        }  # fmt: skip

    def words(self) -> str:
        """In a sentence: with its interval, or why there is none, and what it rests on."""
        bounds = "a single observation, without an interval"
        if self.low is not None and self.high is not None:
            bounds = f"{number(self.low)} to {number(self.high)} {self.unit}"
        elif self.starts > 1:
            bounds = f"no interval: fewer than {MIN_STARTS} starts"
        starts = f"{self.starts} start{'' if self.starts == 1 else 's'}"
        rest = f"{starts}, {self.messages} messages"
        return f"{number(self.value)} {self.unit} ({bounds}; {rest})"

    def minus(self, expected: float) -> Figure:
        """Its error against what was expected."""
        low, high = (None if v is None else v - expected for v in (self.low, self.high))
        return Figure(self.value - expected, low, high, self.unit, self.starts, self.messages)


@dataclass(frozen=True, slots=True)
class Check:
    """One check of the certificate; ``rows`` are its figures, as the certificate stores them."""

    id: str
    title: str
    verdict: Shown
    reason: str
    rows: tuple[Json, ...] = ()

    def document(self) -> Json:
        """As the certificate stores it."""
        return {
            "id": self.id, "title": self.title, "verdict": str(self.verdict),
            "reason": self.reason, "rows": list(self.rows),
        }  # fmt: skip


def figure_of(document: Mapping[str, Any]) -> Figure:
    """A figure as it was before it was stored."""
    names = ("value", "low", "high", "unit", "starts", "messages")
    return Figure(*(document[name] for name in names))


def all_of(verdicts: Sequence[Shown]) -> Shown:
    """Not shown when one is not, shown when all are (and there are any)."""
    if Shown.NOT_SHOWN in verdicts:
        return Shown.NOT_SHOWN
    if verdicts and all(verdict is Shown.SHOWN for verdict in verdicts):
        return Shown.SHOWN
    return Shown.UNDECIDED


def within(figure: Figure, low: float, high: float) -> Shown:
    """Shown when the interval lies inside, not shown when outside; undecided across an edge."""
    if figure.low is None or figure.high is None:
        return Shown.UNDECIDED
    if figure.high < low or figure.low > high:
        return Shown.NOT_SHOWN
    return Shown.SHOWN if low <= figure.low and figure.high <= high else Shown.UNDECIDED


def median(values: Floats) -> float:
    """The p50 of a start's values."""
    return quantile(np.sort(values), 0.5)


def average(values: Floats) -> float:
    """The mean of a start's values."""
    return float(values.mean())


def paired(
    above: ByStart, below: ByStart, of: Of, unit: str = "ms", confidence: float = CONFIDENCE
) -> Figure | None:
    """Mean over starts of the difference within each; None where no start has both."""
    both = [s for s in above if s in below and above[s].size and below[s].size]
    if not both:
        return None
    differences = np.array([of(above[s]) - of(below[s]) for s in both])
    value, messages = float(differences.mean()), sum(above[s].size for s in both)
    if len(both) < MIN_STARTS:
        return Figure(value, None, None, unit, len(both), messages)
    error = float(differences.std(ddof=1)) / math.sqrt(len(both))
    half = _t(len(both) - 1, confidence) * error
    return Figure(value, value - half, value + half, unit, len(both), messages)


def apart(
    above: ByStart, below: ByStart, of: Of, unit: str = "ms", confidence: float = CONFIDENCE
) -> Figure | None:
    """Difference of the means over starts of two groups; None where one group is empty."""
    ours, theirs = (
        np.array([of(values) for values in group.values() if values.size])
        for group in (above, below)
    )
    if not ours.size or not theirs.size:
        return None
    value, starts = float(ours.mean() - theirs.mean()), int(min(ours.size, theirs.size))
    messages = sum(int(values.size) for values in above.values())
    if starts < MIN_STARTS:
        return Figure(value, None, None, unit, starts, messages)
    errors = [float(group.var(ddof=1)) / group.size for group in (ours, theirs)]
    half = 0.0
    if sum(errors) > 0:
        freedom = sum(errors) ** 2 / sum(
            error**2 / (group.size - 1) for error, group in zip(errors, (ours, theirs), strict=True)
        )
        half = _t(freedom, confidence) * math.sqrt(sum(errors))
    return Figure(value, value - half, value + half, unit, starts, messages)


def _t(freedom: float, confidence: float) -> float:
    return float(special.stdtrit(freedom, 1 - (1 - confidence) / 2))
