"""Quantiles, means, and their 95 % intervals from a bootstrap over starts, or else over blocks.

The unit of repetition is the start of a container: messages of one start are not independent. So
whole starts are drawn with replacement (a cluster bootstrap; within a drawn start nothing is drawn
again: A. Davison and D. Hinkley, "Bootstrap Methods and their Application", 1997, section 3.8).
With fewer than three starts, blocks of consecutive messages are drawn instead
(``reports.blocks``): such an interval says how well these very starts are known, and nothing of
others, so it carries its basis and decides no claim.

An interval is the estimate plus and minus the bootstrap's standard deviation, times Student's t for
the number of units, times sqrt(S / (S - 1)): plain percentile intervals are too narrow for the few
starts that a run has (T. Hesterberg, "What Teachers Should Know About the Bootstrap", 2015,
sections 3.2 and 4.3). Where all resamples are above zero, this is done on the logarithm: starts
differ by factors, and the bounds stay above zero. Quantiles above the median are asymmetric
beyond that; their bounds take R. Woodruff's interval ("Confidence Intervals for Medians and Other
Position Measures", 1952) into account, see ``_tail_bounds``. How often all these intervals cover
the truth is simulated in tests/unit/reports/test_coverage.py.

Quantiles are type 8 of R. Hyndman and Y. Fan, "Sample Quantiles in Statistical Packages", 1996:
median-unbiased whatever the distribution.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
import numpy.typing as npt
from scipy import special

from reports.blocks import blocks

Floats = npt.NDArray[np.float64]

CONFIDENCE = 0.95
MIN_STARTS = 3
MIN_BEYOND = 10
"""Observations that must lie beyond a quantile, or it is not given."""
RESAMPLES = 1000
BINS = 256
REACH = 5
"""A bound that comes from ranks leaves at least a fifth of a quantile's tail beyond it."""


class Basis(StrEnum):
    """What was drawn with replacement to make an interval."""

    STARTS = "starts"
    BLOCKS = "blocks"


@dataclass(frozen=True, slots=True)
class Samples:
    """Values grouped by start: ``sizes[i]`` of ``values`` belong to start i, one after another.

    Within a start they are in the order of its messages, ``width`` values a message.
    """

    values: Floats
    sizes: npt.NDArray[np.intp]
    width: int = 1

    @staticmethod
    def of(groups: list[Floats], width: int = 1) -> Samples:
        """Samples from an array a start; starts that have no value are left out."""
        filled = [group for group in groups if group.size]
        values = np.concatenate(filled) if filled else np.empty(0)
        return Samples(values, np.array([group.size for group in filled], dtype=np.intp), width)

    @property
    def starts(self) -> int:
        """How many starts there are."""
        return int(self.sizes.size)

    @property
    def count(self) -> int:
        """How many values there are."""
        return int(self.values.size)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure and its 95 % interval; bounds and basis are None where there is no interval."""

    value: float
    low: float | None
    high: float | None
    starts: int
    count: int
    basis: Basis | None


@dataclass(frozen=True, slots=True)
class _Units:
    """What is drawn: starts or blocks, how many values each has, and how far intervals reach."""

    sizes: npt.NDArray[np.intp]
    basis: Basis
    stretch: float = 1.0

    @property
    def count(self) -> int:
        """How many units there are."""
        return int(self.sizes.size)

    @property
    def factor(self) -> float:
        """What a bootstrap's standard deviation is multiplied with."""
        return self.stretch * _student(self.count)

    def sums(self, values: Floats) -> Floats:
        """The sum of each unit's values."""
        sums: Floats = np.add.reduceat(values, np.cumsum(self.sizes) - self.sizes)
        return sums


@dataclass(slots=True)
class Bootstrap:
    """Resamples of units, drawn once for each number of units from one seed.

    ``draws(S)[b, i]`` says how often unit i is in resample b. The same draws serve every figure.
    """

    seed: int
    _drawn: dict[int, Floats] = field(default_factory=dict)

    def draws(self, units: int) -> Floats:
        """How often each of ``units`` units is in each resample."""
        if units not in self._drawn:
            rng = np.random.default_rng([self.seed, units])
            share = np.full(units, 1 / units)
            self._drawn[units] = rng.multinomial(units, share, RESAMPLES).astype(np.float64)
        return self._drawn[units]


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
    value = float(samples.values.mean())
    units = _units(samples)
    if units is None:
        return Estimate(value, None, None, samples.starts, samples.count, None)
    replicates = _means(samples, units, bootstrap.draws(units.count))
    low, high = _bounds(value, replicates, units.factor)
    return Estimate(value, low, high, samples.starts, samples.count, units.basis)


def quantiles(
    samples: Samples, ps: tuple[float, ...], bootstrap: Bootstrap
) -> tuple[Estimate | None, ...]:
    """Quantiles over all values; None for each that the data cannot give."""
    given = [p for p in ps if can_give(samples.count, p)]
    if not given:
        return (None,) * len(ps)
    ordered = np.sort(samples.values)
    units = _units(samples)
    found: dict[float, Estimate] = {}
    if units is None:
        for p in given:
            value = quantile(ordered, p)
            found[p] = Estimate(value, None, None, samples.starts, samples.count, None)
    else:
        edges, masses = _resampled(samples.values, units, ordered, bootstrap)
        for p in given:
            value = quantile(ordered, p)
            low, high = _bounds(value, _invert(edges, masses, p), units.factor)
            if p > 0.5:
                spread = units.factor * float(_shares(edges, masses, value).std())
                low, high = _tail_bounds(ordered, p, spread, low, high)
            found[p] = Estimate(value, low, high, samples.starts, samples.count, units.basis)
    return tuple(found.get(p) for p in ps)


def ratio(above: Samples, below: Samples, bootstrap: Bootstrap) -> Estimate | None:
    """Mean of ``above`` over mean of ``below``, of two independent groups of starts."""
    if not above.count or not below.count or not below.values.sum():
        return None
    value = float(above.values.mean() / below.values.mean())
    starts = min(above.starts, below.starts)
    ours, theirs = _units(above), _units(below)
    if ours is None or theirs is None:
        return Estimate(value, None, None, starts, above.count, None)
    # Reversed: groups of one size would otherwise share their draws, and be no longer independent.
    others = bootstrap.draws(theirs.count)[::-1]
    replicates = _means(above, ours, bootstrap.draws(ours.count)) / _means(below, theirs, others)
    low, high = _bounds(value, replicates, max(ours.factor, theirs.factor))
    basis = Basis.BLOCKS if Basis.BLOCKS in (ours.basis, theirs.basis) else Basis.STARTS
    return Estimate(value, low, high, starts, above.count, basis)


def _units(samples: Samples) -> _Units | None:
    """The starts where there are enough, else blocks of messages; None where those are too few."""
    if samples.starts >= MIN_STARTS:
        return _Units(samples.sizes, Basis.STARTS)
    made = blocks(samples.values, samples.sizes, samples.width)
    return None if made is None else _Units(made.sizes, Basis.BLOCKS, made.stretch)


def _means(samples: Samples, units: _Units, draws: Floats) -> Floats:
    """The mean of each resample."""
    replicates: Floats = (draws @ units.sums(samples.values)) / (draws @ units.sizes)
    return replicates


def _student(units: int) -> float:
    """Student's t for ``units`` units, times what a bootstrap over so few makes too small."""
    tail = 1 - (1 - CONFIDENCE) / 2
    return float(special.stdtrit(units - 1, tail) * np.sqrt(units / (units - 1)))


def _bounds(value: float, replicates: Floats, factor: float) -> tuple[float, float]:
    """Bounds around a value from the standard deviation of its replicates."""
    if value > 0 and replicates.min() > 0:
        spread = float(np.exp(factor * np.log(replicates / value).std()))
        return value / spread, value * spread
    half = float(factor * replicates.std())
    return value - half, value + half


def _tail_bounds(
    ordered: Floats, p: float, spread: float, low: float, high: float
) -> tuple[float, float]:
    """Bounds of an upper quantile ``p`` from the symmetric ones and from Woodruff's.

    Woodruff's are the quantiles p - spread and p + spread, where ``spread`` is the half width of
    an interval of the share of values at or below the quantile. Towards the tail the wider of the
    two bounds is taken, since units that are slow throughout are rare and may not have been met;
    towards the median the middle of both.
    """
    inner = quantile(ordered, max(p - spread, 0.0))
    outer = quantile(ordered, min(p + spread, 1 - (1 - p) / REACH))
    return (low + inner) / 2, max(high, outer)


def _resampled(
    values: Floats, units: _Units, ordered: Floats, bootstrap: Bootstrap
) -> tuple[Floats, Floats]:
    """Edges, and for each resample how many of its values lie at or below each edge.

    The edges are quantiles of all values, so every bin is as finely resolved as the data.
    """
    ranks = np.linspace(0, ordered.size - 1, min(BINS, ordered.size)).astype(np.intp)
    edges = ordered[ranks]
    edges = edges[np.append(True, edges[1:] > edges[:-1])]
    # Each unit sorted by itself: numpy sorts values several times as fast as it sorts places.
    parts = np.split(values, np.cumsum(units.sizes[:-1]))
    below = np.stack([np.searchsorted(np.sort(part), edges, side="right") for part in parts])
    return edges, bootstrap.draws(units.count) @ below


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


def _shares(edges: Floats, masses: Floats, value: float) -> Floats:
    """The share of each resample's values at or below ``value``, linear between edges."""
    if edges.size == 1:
        return np.ones(masses.shape[0])
    at = min(max(int(np.searchsorted(edges, value)), 1), edges.size - 1)
    part = (value - edges[at - 1]) / (edges[at] - edges[at - 1])
    below = masses[:, at - 1] + part * (masses[:, at] - masses[:, at - 1])
    shares: Floats = below / masses[:, -1]
    return shares
