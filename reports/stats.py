"""Quantiles, means, and their 95 % intervals from a bootstrap over starts.

The unit of repetition is the start of a container: messages of one start are not independent. So
whole starts are drawn with replacement (a cluster bootstrap). An interval is the estimate plus and
minus the bootstrap's standard deviation, times Student's t for the number of starts, times
sqrt(S / (S - 1)): plain percentile intervals are too narrow for the few starts that a run has
(T. Hesterberg, "What Teachers Should Know About the Bootstrap", 2015, sections 3.2 and 4.3).
Where all resamples are above zero, this is done on the logarithm: starts differ by factors, and the
bounds stay above zero. With fewer than three starts there is no interval.

Quantiles are type 8 of R. Hyndman and Y. Fan, "Sample Quantiles in Statistical Packages", 1996:
median-unbiased whatever the distribution.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy import special

Floats = npt.NDArray[np.float64]

CONFIDENCE = 0.95
MIN_STARTS = 3
MIN_BEYOND = 10
"""Observations that must lie beyond a quantile, or it is not given."""
RESAMPLES = 1000
BINS = 256


@dataclass(frozen=True, slots=True)
class Samples:
    """Values grouped by start: ``sizes[i]`` of ``values`` belong to start i, one after another."""

    values: Floats
    sizes: npt.NDArray[np.intp]

    @staticmethod
    def of(groups: list[Floats]) -> Samples:
        """Samples from an array a start; starts that have no value are left out."""
        filled = [group for group in groups if group.size]
        values = np.concatenate(filled) if filled else np.empty(0)
        return Samples(values, np.array([group.size for group in filled], dtype=np.intp))

    @property
    def starts(self) -> int:
        """How many starts there are."""
        return int(self.sizes.size)

    @property
    def count(self) -> int:
        """How many values there are."""
        return int(self.values.size)

    def sums(self) -> Floats:
        """The sum of each start's values."""
        if not self.starts:
            return np.empty(0)
        begins = np.cumsum(self.sizes) - self.sizes
        sums: Floats = np.add.reduceat(self.values, begins)
        return sums


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure and its 95 % interval; the bounds are None where there is no interval."""

    value: float
    low: float | None
    high: float | None
    starts: int
    count: int


@dataclass(slots=True)
class Bootstrap:
    """Resamples of starts, drawn once for each number of starts from one seed.

    ``draws(S)[b, i]`` says how often start i is in resample b. The same draws serve every figure.
    """

    seed: int
    _drawn: dict[int, Floats] = field(default_factory=dict)

    def draws(self, starts: int) -> Floats:
        """How often each of ``starts`` starts is in each resample."""
        if starts not in self._drawn:
            rng = np.random.default_rng([self.seed, starts])
            share = np.full(starts, 1 / starts)
            self._drawn[starts] = rng.multinomial(starts, share, RESAMPLES).astype(np.float64)
        return self._drawn[starts]


def quantile(ordered: Floats, p: float) -> float:
    """Quantile ``p`` of sorted values (type 8), whatever their number; they must not be none."""
    n = ordered.size
    at = min(max((n + 1 / 3) * p + 1 / 3, 1.0), float(n))
    low = int(at)
    high = min(low + 1, n)
    part = at - low
    if part == 0:
        return float(ordered[low - 1])
    return float(ordered[low - 1] * (1 - part) + ordered[high - 1] * part)


def can_give(count: int, p: float) -> bool:
    """Whether enough of ``count`` observations lie beyond quantile ``p`` to give it."""
    return round(count * (1 - p), 9) >= MIN_BEYOND


def needed(p: float) -> int:
    """The number of observations from which quantile ``p`` can be given."""
    return int(np.ceil(round(MIN_BEYOND / (1 - p), 6)))


def mean(samples: Samples, bootstrap: Bootstrap) -> Estimate | None:
    """Mean over all values; None when there are none."""
    if not samples.count:
        return None
    sums = samples.sums()
    value = float(sums.sum() / samples.count)
    if samples.starts < MIN_STARTS:
        return Estimate(value, None, None, samples.starts, samples.count)
    draws = bootstrap.draws(samples.starts)
    replicates = (draws @ sums) / (draws @ samples.sizes)
    return _estimate(value, replicates, samples.starts, samples.count)


def quantiles(
    samples: Samples, ps: tuple[float, ...], bootstrap: Bootstrap
) -> tuple[Estimate | None, ...]:
    """Quantiles over all values; None for each that the data cannot give."""
    given = [p for p in ps if can_give(samples.count, p)]
    if not given:
        return (None,) * len(ps)
    order = np.argsort(samples.values)
    ordered = samples.values[order]
    values = {p: quantile(ordered, p) for p in given}
    found: dict[float, Estimate] = {}
    if samples.starts < MIN_STARTS:
        for p, value in values.items():
            found[p] = Estimate(value, None, None, samples.starts, samples.count)
    else:
        edges, masses = _resampled(samples, order, ordered, bootstrap)
        for p, value in values.items():
            replicates = _invert(edges, masses, p)
            found[p] = _estimate(value, replicates, samples.starts, samples.count)
    return tuple(found.get(p) for p in ps)


def ratio(above: Samples, below: Samples, bootstrap: Bootstrap) -> Estimate | None:
    """Mean of ``above`` over mean of ``below``, of two independent groups of starts."""
    if not above.count or not below.count or not below.values.sum():
        return None
    value = float(above.values.mean() / below.values.mean())
    starts = min(above.starts, below.starts)
    count = above.count
    if starts < MIN_STARTS:
        return Estimate(value, None, None, starts, count)
    draws = bootstrap.draws(above.starts)
    # Reversed: groups of one size would otherwise share their draws, and be no longer independent.
    others = bootstrap.draws(below.starts)[::-1]
    replicates = ((draws @ above.sums()) / (draws @ above.sizes)) / (
        (others @ below.sums()) / (others @ below.sizes)
    )
    return _estimate(value, replicates, starts, count)


def _estimate(value: float, replicates: Floats, starts: int, count: int) -> Estimate:
    """The estimate with its interval from the bootstrap's replicates."""
    tail = 1 - (1 - CONFIDENCE) / 2
    factor = float(special.stdtrit(starts - 1, tail)) * np.sqrt(starts / (starts - 1))
    if value > 0 and replicates.min() > 0:
        spread = float(np.exp(factor * np.log(replicates / value).std()))
        return Estimate(value, value / spread, value * spread, starts, count)
    half = float(factor * replicates.std())
    return Estimate(value, value - half, value + half, starts, count)


def _resampled(
    samples: Samples, order: npt.NDArray[np.intp], ordered: Floats, bootstrap: Bootstrap
) -> tuple[Floats, Floats]:
    """Edges, and for each resample how many of its values lie at or below each edge.

    The edges are quantiles of all values, so every bin is as finely resolved as the data.
    """
    ranks = np.linspace(0, ordered.size - 1, min(BINS, ordered.size)).astype(np.intp)
    edges = ordered[ranks]
    edges = edges[np.append(True, edges[1:] > edges[:-1])]
    ends = np.searchsorted(ordered, edges, side="right")
    slot = np.repeat(np.arange(edges.size), np.diff(ends, prepend=0))
    slot += np.repeat(np.arange(samples.starts) * edges.size, samples.sizes)[order]
    counts = np.bincount(slot, minlength=samples.starts * edges.size)
    below = counts.reshape(samples.starts, edges.size).cumsum(axis=1)
    return edges, bootstrap.draws(samples.starts) @ below


def _invert(edges: Floats, masses: Floats, p: float) -> Floats:
    """Quantile ``p`` of each resample, linear between edges."""
    wanted = p * masses[:, -1]
    at = (masses < wanted[:, None]).sum(axis=1)
    rows = np.arange(masses.shape[0])
    above = masses[rows, at]
    before = np.maximum(at - 1, 0)
    below = np.where(at > 0, masses[rows, before], 0.0)
    part = np.where(at > 0, (wanted - below) / np.where(above > below, above - below, 1.0), 1.0)
    replicates: Floats = edges[before] + part * (edges[at] - edges[before])
    return replicates
