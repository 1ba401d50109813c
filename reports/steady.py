"""Finds from which message on a started flow is in its steady state, and how it got there.

The classes are those of E. Barrett et al., "Virtual Machine Warmup Blows Hot and Cold", 2017.
There, change points are found by PELT (R. Killick et al., 2012), and the last segment with all
segments before it that are equivalent to it is the steady state. Levels alone take a drift for
stairs and a weak cycle for a level, so they compete with other descriptions of the log latency: a
ramp between two levels, a drift, a cycle (``reports.courses``). What comes before the last level is
taken off, and the rest described again, until it is one level.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reports.courses import best_course

Floats = npt.NDArray[np.float64]

FLAT, WARM_UP, SLOWDOWN, NONE = "flat", "warm-up", "slowdown", "no steady state"
MIN_MESSAGES = 20
MAX_POINTS = 400
EQUIVALENT = np.log(1.10)
"""Segments whose latencies differ by less than this factor are one and the same state."""
STEADY_SHARE = 0.25
"""Share of all messages that the steady state must span to be called one."""
OUTLIER = 3.5
"""Distance from the median of five neighbours, in standard deviations, that is cut off."""


@dataclass(frozen=True, slots=True)
class Steadiness:
    """``messages`` are handled before the steady state begins: 0 when flat, None without one."""

    kind: str
    messages: int | None


def classify(starts: list[Floats]) -> Steadiness | None:
    """Class of a flow from the latencies of each start, in the order of its messages.

    The median over the starts is taken message by message. None when there are fewer than
    ``MIN_MESSAGES``, or a latency is not above zero (it has no logarithm).
    """
    length = min((start.size for start in starts), default=0)
    if length < MIN_MESSAGES:
        return None
    series = np.median(np.stack([start[:length] for start in starts]), axis=0)
    if series.min() <= 0:
        return None
    block = -(-length // MAX_POINTS)
    points = length // block
    series = np.median(series[: points * block].reshape(points, block), axis=1)
    logs = _without_outliers(np.log(series))
    begin, levels = 0, list[float]()
    while True:
        rest = logs[begin:]
        if rest.size < STEADY_SHARE * points:
            return Steadiness(NONE, None)
        course = best_course(rest, equivalent=EQUIVALENT, share=STEADY_SHARE, drifts=begin == 0)
        if course.begin is None:
            return Steadiness(NONE, None)
        if course.begin == 0:
            break
        levels.append(float(course.fitted[: course.begin].mean()))
        begin += course.begin
    steady = float(logs[begin:].mean())
    if all(abs(level - steady) < EQUIVALENT for level in levels):
        return Steadiness(FLAT, 0)
    slower = all(level > steady - EQUIVALENT for level in levels)
    return Steadiness(WARM_UP if slower else SLOWDOWN, begin * block)


def _without_outliers(logs: Floats) -> Floats:
    """Single outliers cut off, but for the first points: those may be a short warm-up."""
    middle = np.median(np.lib.stride_tricks.sliding_window_view(np.pad(logs, 2, "reflect"), 5), 1)
    away = logs - middle
    limit = OUTLIER * 1.4826 * float(np.median(np.abs(away)))
    cut = middle + np.clip(away, -limit, limit)
    cut[:2] = logs[:2]
    return cut
