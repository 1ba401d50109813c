"""Cuts a start's messages into blocks that are long enough to be nearly independent.

Messages that follow each other are alike, so n of them say less than n independent ones: as much as
n / tau, where tau is the integrated autocorrelation time. It is estimated by C. Geyer's initial
monotone sequence ("Practical Markov Chain Monte Carlo", 1992, section 3.3), on normal scores, since
a few outliers would hide the correlation of all others.

Blocks are still a little alike, so a variance that is taken from them is too small. Where
correlation fades exponentially it is so by the share (tau - 1 / tau) / (2 b), for blocks of b
messages (the sum of b AR(1) values, against b tau times their variance); intervals are stretched
by what is missing. The choice of ``LENGTH`` was simulated:
docs/decisions/0014-intervals-over-starts-or-blocks.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

Floats = npt.NDArray[np.float64]
Sizes = npt.NDArray[np.intp]

LENGTH = 6.0
"""Messages of a block, in autocorrelation times."""
MIN_TIMES = 12.0
"""Autocorrelation times that a start must last to be cut into blocks."""
MIN_BLOCKS = 3
MAX_BLOCKS = 40
"""More blocks make no interval narrower: Student's t is within 3 % of the normal quantile."""
MIN_MESSAGES = 100
"""Of fewer messages, an autocorrelation is hardly known."""
MAX_POINTS = 4096


@dataclass(frozen=True, slots=True)
class Blocks:
    """How many values each block has, and what its intervals' half widths are multiplied with."""

    sizes: Sizes
    stretch: float


def blocks(values: Floats, sizes: Sizes, width: int) -> Blocks | None:
    """Blocks of messages, start by start; None when there are too few for them.

    ``sizes`` are those of the starts, one after another in ``values``, and ``width`` values are
    one message's; no block crosses the end of a start, or cuts a message.
    """
    starts = [
        part.reshape(-1, width).mean(axis=1)
        for part in np.split(values, np.cumsum(sizes)[:-1])
        if part.size
    ]
    messages = sum(start.size for start in starts)
    if messages < MIN_MESSAGES:
        return None
    tau = max(correlation_time(start) for start in starts)
    if messages < MIN_TIMES * tau:
        return None
    found: list[Sizes] = []
    for start in starts:
        most = round(MAX_BLOCKS * start.size / messages)
        least = -(-MIN_BLOCKS // len(starts))
        count = min(max(min(int(start.size / (LENGTH * tau)), most), least), start.size)
        ends = np.arange(1, count + 1) * start.size // count
        found.append(np.diff(ends, prepend=0) * width)
    made = np.concatenate(found)
    missing = (tau - 1 / tau) / (2 * messages / made.size)
    return Blocks(made, float(1 / np.sqrt(1 - missing)))


def correlation_time(series: Floats) -> float:
    """Integrated autocorrelation time in messages: 1 where they are independent, never less."""
    step = -(-series.size // MAX_POINTS)
    points = series.size // step
    series = series[: points * step].reshape(points, step).mean(axis=1)
    if series.min() == series.max():
        return float(step)
    ranks = np.empty(points)
    ranks[np.argsort(series, kind="stable")] = np.arange(1, points + 1)
    # Blom's scores; their mean is zero.
    scores = special.ndtri((ranks - 0.375) / (points + 0.25))
    length = 1 << (2 * points - 1).bit_length()
    power = np.abs(np.fft.rfft(scores, length)) ** 2
    correlations = np.fft.irfft(power, length)[:points]
    pairs = correlations[: points // 2 * 2].reshape(-1, 2).sum(axis=1) / correlations[0]
    negative = np.flatnonzero(pairs <= 0)
    pairs = np.minimum.accumulate(pairs[: negative[0]] if negative.size else pairs)
    return step * max(2 * float(pairs.sum()) - 1, 1.0)
