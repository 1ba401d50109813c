"""Figures that have one value a start: their mean and interval, and whether they are as expected.

Three-valued, like every verdict here: a figure is **alike** where its whole interval lies within a
margin around what is expected (two one-sided tests: D. Schuirmann, "A comparison of the two
one-sided tests procedure and the power approach", 1987), it **deviates** where it is farther from
what is expected than the margin and its interval excludes that, and is undecided otherwise. Where
many figures are looked at, some intervals exclude the truth by chance. So for a deviation the
interval is widened to 1 - 0.05 / m, where m figures are compared (Bonferroni): of an even flow, one
run in twenty at most says that it deviates anywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from scipy import special

from reports.render.numbers import of_value, plain
from reports.stats import CONFIDENCE, MIN_STARTS, Basis, Bootstrap, Estimate, Floats


class Agreement(StrEnum):
    """Whether a figure is what it is expected to be, within a margin."""

    ALIKE = "alike"
    DEVIATES = "deviates"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True)
class Compared:
    """A figure, its interval as it is shown, and the wider one among all that are compared."""

    estimate: Estimate | None
    low: float | None = None
    high: float | None = None

    @property
    def factor(self) -> float:
        """How many times it is one, or one is it, whichever is more; one where it is not known."""
        value = self.estimate.value if self.estimate else 1.0
        return max(value, 1 / value) if value > 0 else 1.0

    def agreement(self, *, expected: float, low: float, high: float) -> Agreement:
        """Whether it agrees with ``expected``, where ``low`` to ``high`` is close enough."""
        shown = self.estimate
        if shown is None or shown.low is None or shown.high is None:
            return Agreement.UNDECIDED
        if low <= shown.low and shown.high <= high:
            return Agreement.ALIKE
        if self.low is None or self.high is None:
            return Agreement.UNDECIDED
        if not low <= shown.value <= high and not self.low <= expected <= self.high:
            return Agreement.DEVIATES
        return Agreement.UNDECIDED


Judge = Callable[[Compared], Agreement]


def together(found: Sequence[Agreement]) -> Agreement:
    """Deviates when one does; alike when all are, and there are any."""
    if Agreement.DEVIATES in found:
        return Agreement.DEVIATES
    if found and all(one is Agreement.ALIKE for one in found):
        return Agreement.ALIKE
    return Agreement.UNDECIDED


def over_starts(
    values: Sequence[float] | Floats,
    messages: int,
    bootstrap: Bootstrap,
    *,
    signed: bool = False,
) -> Estimate | None:
    """Mean of one value a start, and its interval from a bootstrap over them; None without any.

    ``messages`` is what they were computed from. ``signed``: they are differences or slopes, which
    no start changes by a factor. Below three starts there is no interval.
    """
    return compared(values, messages, bootstrap, comparisons=1, signed=signed).estimate


def compared(
    values: Sequence[float] | Floats,
    messages: int,
    bootstrap: Bootstrap,
    *,
    comparisons: int,
    signed: bool = False,
) -> Compared:
    """As :func:`over_starts`, for one of ``comparisons`` figures."""
    table = np.asarray(values, dtype=np.float64)
    count = table.size
    if not count:
        return Compared(None)
    value = float(table.mean())
    if count < MIN_STARTS:
        return Compared(Estimate(value, None, None, count, messages, None))
    replicates = bootstrap.draws(count) @ table / count
    return of_replicates(
        value, replicates, starts=count, messages=messages, freedom=count - 1, least=count,
        comparisons=comparisons, signed=signed,
    )  # fmt: skip


def of_replicates(
    value: float,
    replicates: Floats,
    *,
    starts: int,
    messages: int,
    freedom: float,
    least: int,
    comparisons: int,
    signed: bool,
) -> Compared:
    """A figure and its intervals from a bootstrap's replicates, as ``reports.stats`` makes them.

    Student's t has ``freedom`` degrees; ``least`` starts are in the smallest group that was drawn
    from.
    """
    factor = float(np.sqrt(least / (least - 1)))
    on_logarithm = not signed and value > 0 and replicates.min() > 0
    deviation = float((np.log(replicates / value) if on_logarithm else replicates).std()) * factor

    def ends(among: int) -> tuple[float, float]:
        half = float(special.stdtrit(freedom, 1 - (1 - CONFIDENCE) / among / 2)) * deviation
        if on_logarithm:
            return value / float(np.exp(half)), value * float(np.exp(half))
        return value - half, value + half

    shown = Estimate(value, *ends(1), starts, messages, Basis.STARTS)
    return Compared(shown, *ends(comparisons))


def stepwise(
    count: int, compare: Callable[[int, list[int]], Compared], agreement: Judge
) -> list[tuple[Compared, Agreement]]:
    """Which of several like things are odd: each is compared with those that are not.

    ``compare(i, others)`` is thing i over the others. The one that deviates most is set aside, as
    the others would seem to deviate from it, and the rest are compared again; of the last two it
    cannot be told which is odd, so both deviate.
    """
    even = list(range(count))
    while True:
        found = {i: compare(i, [k for k in even if k != i]) for i in range(count)}
        odd = [i for i in even if agreement(found[i]) is Agreement.DEVIATES]
        if not odd or len(even) <= 2:
            break
        even.remove(max(odd, key=lambda i: found[i].factor))
    aside = set(range(count)) - set(even)
    return [
        (found[i], Agreement.DEVIATES if i in aside else agreement(found[i])) for i in range(count)
    ]


def in_words(figure: Mapping[str, Any] | None) -> str:
    """A figure of one value in a sentence, with its unit, its interval and what it rests on."""
    return plain(of_value(figure).words())
