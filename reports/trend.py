"""Whether a series goes up or down as time goes by, and how fast.

The test is H. Mann's, "Nonparametric Tests Against Trend", 1945, with ties as in M. Kendall, "Rank
Correlation Methods", 1975; the slope is H. Theil's (1950), with P. Sen's interval, "Estimates of
the Regression Coefficient Based on Kendall's Tau", 1968. Neither assumes a distribution, and a
single outlier moves neither.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

Floats = npt.NDArray[np.float64]

MIN_POINTS = 6
"""With fewer points not even a series that only ever grows is told from chance."""
SIGNIFICANT = 0.01
CONFIDENCE = 0.95
"""Of the interval of a slope."""


@dataclass(frozen=True, slots=True)
class Trend:
    """``chance`` is how probable so much order is in a series without any trend.

    ``slope`` is per unit of time, with its 95 % interval; ``change`` is the slope over the time
    that was watched, as a share of the series' median (0 where that is 0).
    """

    chance: float
    slope: float
    low: float
    high: float
    change: float
    points: int

    @property
    def there(self) -> bool:
        """Whether there is a trend at all."""
        return self.chance < SIGNIFICANT


def trend(at: Floats, values: Floats) -> Trend | None:
    """The trend of values in order of time; None with fewer than ``MIN_POINTS``."""
    n = values.size
    if n < MIN_POINTS or not np.ptp(at):
        return None
    first, second = np.triu_indices(n, k=1)
    steps = values[second] - values[first]
    deviation = _deviation(values)
    score = float(np.sign(steps).sum())
    z = (abs(score) - 1) / deviation if score and deviation else 0.0
    gaps = at[second] - at[first]
    slopes = np.sort(steps[gaps > 0] / gaps[gaps > 0])
    reach = float(special.ndtri(0.5 + CONFIDENCE / 2)) * deviation
    low, high = ((slopes.size + side * reach) / 2 for side in (-1, 1))
    slope = float(np.median(slopes))
    middle = float(np.median(values))
    return Trend(
        chance=math.erfc(max(z, 0.0) / math.sqrt(2)),
        slope=slope,
        low=float(slopes[max(0, math.floor(low))]),
        high=float(slopes[min(slopes.size - 1, math.ceil(high))]),
        change=slope * float(np.ptp(at)) / middle if middle else 0.0,
        points=n,
    )


def _deviation(values: Floats) -> float:
    """Standard deviation of the score in a series without a trend."""
    n = values.size
    _, tied = np.unique(values, return_counts=True)
    whole = n * (n - 1) * (2 * n + 5)
    return math.sqrt((whole - float((tied * (tied - 1) * (2 * tied + 5)).sum())) / 18)
