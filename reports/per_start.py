"""Figures that have one value a start: their mean and interval, and whether they are as expected.

Three-valued, like every verdict here: a figure is **alike** where its whole interval lies within a
margin around what is expected (two one-sided tests: D. Schuirmann, "A comparison of the two
one-sided tests procedure and the power approach", 1987), it **deviates** where its interval
excludes what is expected and it is farther from it than the margin, and is undecided otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

import numpy as np
from scipy import special

from reports.stats import CONFIDENCE, MIN_STARTS, Basis, Bootstrap, Estimate, Floats


class Agreement(StrEnum):
    """Whether a figure is what it is expected to be, within a margin."""

    ALIKE = "alike"
    DEVIATES = "deviates"
    UNDECIDED = "undecided"


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
    table = np.asarray(values, dtype=np.float64)
    count = table.size
    if not count:
        return None
    value = float(table.mean())
    if count < MIN_STARTS:
        return Estimate(value, None, None, count, messages, None)
    low, high = bounds(
        value,
        bootstrap.draws(count) @ table / count,
        freedom=count - 1,
        least=count,
        signed=signed,
    )
    return Estimate(value, low, high, count, messages, Basis.STARTS)


def bounds(
    value: float, replicates: Floats, *, freedom: int, least: int, signed: bool = False
) -> tuple[float, float]:
    """A 95 % interval from a bootstrap's replicates, as ``reports.stats`` makes them.

    Student's t has ``freedom`` degrees; ``least`` starts are in the smallest group that was drawn
    from.
    """
    tail = 1 - (1 - CONFIDENCE) / 2
    factor = float(special.stdtrit(freedom, tail) * np.sqrt(least / (least - 1)))
    if not signed and value > 0 and replicates.min() > 0:
        spread = float(np.exp(factor * np.log(replicates / value).std()))
        return value / spread, value * spread
    half = factor * float(replicates.std())
    return value - half, value + half


def agreement(estimate: Estimate | None, *, expected: float, low: float, high: float) -> Agreement:
    """Whether an estimate agrees with ``expected``, where ``low`` to ``high`` is close enough."""
    if estimate is None or estimate.low is None or estimate.high is None:
        return Agreement.UNDECIDED
    if estimate.basis is not Basis.STARTS:
        return Agreement.UNDECIDED
    if low <= estimate.low and estimate.high <= high:
        return Agreement.ALIKE
    excluded = not estimate.low <= expected <= estimate.high
    if excluded and not low <= estimate.value <= high:
        return Agreement.DEVIATES
    return Agreement.UNDECIDED


def together(found: Sequence[Agreement]) -> Agreement:
    """Deviates when one does; alike when all are, and there are any."""
    if Agreement.DEVIATES in found:
        return Agreement.DEVIATES
    if found and all(one is Agreement.ALIKE for one in found):
        return Agreement.ALIKE
    return Agreement.UNDECIDED


def in_words(figure: Mapping[str, Any]) -> str:
    """``1.25 (1.1 to 1.4)``: a figure of one value without its unit."""
    text = f"{figure['value']:.3g}"
    if figure["low"] is None or figure["high"] is None:
        return text
    return f"{text} ({figure['low']:.3g} to {figure['high']:.3g})"
