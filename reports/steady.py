"""Finds from which message on a started flow is in its steady state, and how it got there.

Change points of the log latency are found by PELT (R. Killick et al., 2012, as in ``ruptures``).
The classes are those of E. Barrett et al., "Virtual Machine Warmup Blows Hot and Cold", 2017: the
last segment, with all segments before it that are equivalent to it, is the steady state.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

FLAT, WARM_UP, SLOWDOWN, NONE = "flat", "warm-up", "slowdown", "no steady state"
MIN_MESSAGES = 20
MAX_POINTS = 400
EQUIVALENT = np.log(1.10)
"""Segments whose latencies differ by less than this factor are one and the same state."""
STEADY_SHARE = 0.25
"""Share of all messages that the steady state must span to be called one."""
PENALTY = 15.0
"""Times the variance times log(points): as Barrett et al. chose it, deaf to autocorrelation."""


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
    logs = np.log(series)
    bounds = [0, *_change_points(logs)]
    levels = [float(logs[a:b].mean()) for a, b in itertools.pairwise(bounds)]
    first = len(levels) - 1
    while first > 0 and abs(levels[first - 1] - levels[-1]) < EQUIVALENT:
        first -= 1
    if first == 0:
        return Steadiness(FLAT, 0)
    if points - bounds[first] < STEADY_SHARE * points:
        return Steadiness(NONE, None)
    slower = all(level > levels[-1] - EQUIVALENT for level in levels)
    return Steadiness(WARM_UP if slower else SLOWDOWN, bounds[first] * block)


def _change_points(logs: Floats) -> list[int]:
    """Ends of the segments, the last one included."""
    # Takes a second to import, and only realtime flows need it.
    import ruptures

    # Differences of neighbours show the noise without the changes of level (von Neumann, 1941).
    noise = np.median(np.abs(np.diff(logs))) / (0.6745 * np.sqrt(2))
    variance = max(float(noise) ** 2, 1e-6)
    search = ruptures.KernelCPD(kernel="linear", min_size=1).fit(logs.reshape(-1, 1))
    ends: list[int] = search.predict(pen=PENALTY * variance * np.log(logs.size))
    return [int(end) for end in ends]
