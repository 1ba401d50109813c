"""Whether the means of hops add up along a flow: whether one cost a hop speaks for all of it.

That the hops of an execution sum to its overhead between containers is conservation, and is checked
for every execution by its residual. What "(N - 1) times a hop" says beyond it can fail in two ways,
and both are tested over starts, with a margin of ``MARGIN`` on either side:

* a **hop** costs more or less than the other hops of its flow: its mean over the mean of the
  others, start by start (what a start shares cancels out), the odd ones set aside;
* a **length** costs more or less per hop than the other lengths, or the cost of a hop changes from
  the shortest flow to the longest: overhead ~ (N - 1)^(1 + e), fitted by least squares on the
  logarithms; the change is the ratio of the two ends, (h_max / h_min)^e. The line
  overhead = intercept + slope (N - 1) is fitted too, with weights 1 / (N - 1)^2, since
  starts differ by factors.

Intervals over lengths come from a bootstrap of the starts within each length (A. Davison and D.
Hinkley, "Bootstrap Methods and their Application", 1997, section 3.2: strata). Means only:
percentiles do not add.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from reports import measures
from reports.cells import Cell
from reports.per_start import (
    Agreement,
    Compared,
    compared,
    of_replicates,
    over_starts,
    stepwise,
    together,
)
from reports.stats import MIN_STARTS, RESAMPLES, Bootstrap, Estimate, Floats

MARGIN = 0.10
"""By how much a hop or a length may differ from the others and still be like them."""

FIRST, MIDDLE, LAST = POSITIONS = ("first", "middle", "last")


@dataclass(frozen=True, slots=True)
class Start:
    """One start of a flow: the mean of each hop, and of the overhead between containers, in ms."""

    hops_ms: Floats
    overhead_ms: float
    messages: int


@dataclass(frozen=True, slots=True)
class HopCost:
    """A hop beside the other hops of its flow: its mean over theirs."""

    index: int
    position: str
    mean_ms: Estimate | None
    ratio: Estimate | None
    agreement: Agreement


@dataclass(frozen=True, slots=True)
class PositionCost:
    """All hops at one position beside the other hops of their flows."""

    position: str
    ratio: Estimate | None
    agreement: Agreement


@dataclass(frozen=True, slots=True)
class LengthCost:
    """A length beside the others: what a hop costs in it, over what one costs in them."""

    containers: int
    overhead_ms: Estimate | None
    per_hop_ms: Estimate | None
    ratio: Estimate | None
    agreement: Agreement


@dataclass(frozen=True, slots=True)
class Growth:
    """How overhead grows with the hops; ``change`` is a hop's cost, longest over shortest flow."""

    lengths: tuple[LengthCost, ...]
    slope_ms: Estimate | None
    intercept_ms: Estimate | None
    change: Estimate | None
    agreement: Agreement


def starts_of(cell: Cell) -> list[Start]:
    """The warm executions of each start of a cell."""
    found = []
    for part in cell.parts:
        count = int(part.judged.sum())
        if not count:
            continue
        rows, mask = part.executions, part.judged
        found.append(
            Start(
                hops_ms=measures.hops(rows, mask).reshape(count, -1).mean(axis=0),
                overhead_ms=float(measures.overhead_between(rows, mask).mean()),
                messages=count,
            )
        )
    return found


def position(index: int, hops: int) -> str:
    """Where hop ``index`` (from 0) stands among ``hops``."""
    if index == 0:
        return FIRST
    return LAST if index == hops - 1 else MIDDLE


def compare_hops(
    starts: Sequence[Start], bootstrap: Bootstrap, *, comparisons: int
) -> tuple[HopCost, ...]:
    """Each hop of a flow beside the others; none for a flow of a single hop.

    ``comparisons`` is how many hops are compared in all, other flows included.
    """
    if not starts or starts[0].hops_ms.size < 2:
        return ()
    table = np.stack([start.hops_ms for start in starts])
    messages = sum(start.messages for start in starts)
    hops = table.shape[1]

    def beside(k: int, others: list[int]) -> Compared:
        among = table[:, others].mean(axis=1)
        if not (among > 0).all():
            return Compared(None)
        return compared(table[:, k] / among, messages, bootstrap, comparisons=comparisons)

    return tuple(
        HopCost(
            index=k,
            position=position(k, hops),
            mean_ms=over_starts(table[:, k], messages, bootstrap),
            ratio=ratio.estimate,
            agreement=found,
        )
        for k, (ratio, found) in enumerate(stepwise(hops, beside, alike))
    )


def compare_positions(
    by_length: Mapping[int, Sequence[Start]], bootstrap: Bootstrap
) -> dict[str, PositionCost]:
    """First, middle and last hops over the other hops of their flow, over all lengths together.

    Only flows of three hops and more tell a position from a hop.
    """
    long = [s for starts in by_length.values() for s in starts if s.hops_ms.size > 2]
    if not long:
        return {}
    messages = sum(start.messages for start in long)
    table = np.array([_by_position(start.hops_ms) for start in long])

    def beside(i: int, others: list[int]) -> Compared:
        among = table[:, others].mean(axis=1)
        if not (among > 0).all():
            return Compared(None)
        return compared(table[:, i] / among, messages, bootstrap, comparisons=len(POSITIONS))

    return {
        where: PositionCost(where, ratio.estimate, found)
        for where, (ratio, found) in zip(
            POSITIONS, stepwise(len(POSITIONS), beside, alike), strict=True
        )
    }


def _by_position(hops_ms: Floats) -> tuple[float, float, float]:
    return float(hops_ms[0]), float(hops_ms[1:-1].mean()), float(hops_ms[-1])


def compare_lengths(
    by_length: Mapping[int, Sequence[Start]], bootstrap: Bootstrap
) -> Growth | None:
    """How the overhead grows with the length; None where one length was measured."""
    lengths = sorted(n for n, starts in by_length.items() if n > 1 and starts)
    if len(lengths) < 2:
        return None
    strata = _Strata(
        hops=np.array([n - 1.0 for n in lengths]),
        overheads=tuple(np.array([s.overhead_ms for s in by_length[n]]) for n in lengths),
        messages=sum(s.messages for n in lengths for s in by_length[n]),
        seed=bootstrap.seed,
    )
    comparisons = len(lengths) + 1
    ratios = stepwise(
        len(lengths),
        lambda i, others: strata.compared(_beside(i, others), comparisons),
        alike,
    )
    costs = []
    for n, (ratio, found) in zip(lengths, ratios, strict=True):
        own = by_length[n]
        messages = sum(start.messages for start in own)
        overheads = [start.overhead_ms for start in own]
        costs.append(
            LengthCost(
                containers=n,
                overhead_ms=over_starts(overheads, messages, bootstrap),
                per_hop_ms=over_starts([v / (n - 1) for v in overheads], messages, bootstrap),
                ratio=ratio.estimate,
                agreement=found,
            )
        )
    change = strata.compared(_change, comparisons)
    return Growth(
        lengths=tuple(costs),
        slope_ms=strata.estimate(lambda hops, means: _line(hops, means)[1]),
        intercept_ms=strata.estimate(lambda hops, means: _line(hops, means)[0]),
        change=change.estimate,
        agreement=together([alike(change), *(cost.agreement for cost in costs)]),
    )


def alike(ratio: Compared) -> Agreement:
    """Whether a ratio is 1 within the margin."""
    return ratio.agreement(expected=1.0, low=1 / (1 + MARGIN), high=1 + MARGIN)


Fit = Callable[[Floats, Floats], Floats]
"""From the hops of each length and the mean overheads (a row a resample) to one value a row."""


@dataclass(frozen=True, slots=True)
class _Strata:
    """The overheads of the starts of each length, in ms."""

    hops: Floats
    overheads: tuple[Floats, ...]
    messages: int
    seed: int

    def estimate(self, fit: Fit) -> Estimate | None:
        """A figure of any sign over all lengths, and its interval."""
        return self._fitted(fit, 1, signed=True).estimate

    def compared(self, fit: Fit, comparisons: int) -> Compared:
        """A factor, one of ``comparisons``."""
        return self._fitted(fit, comparisons, signed=False)

    def _fitted(self, fit: Fit, comparisons: int, *, signed: bool) -> Compared:
        means = np.array([values.mean() for values in self.overheads])
        if means.min() <= 0:
            return Compared(None)
        value = float(fit(self.hops, means[None, :])[0])
        starts = sum(values.size for values in self.overheads)
        least = min(values.size for values in self.overheads)
        if least < MIN_STARTS:
            return Compared(Estimate(value, None, None, starts, self.messages, None))
        resampled = self._resampled()
        return of_replicates(
            value,
            fit(self.hops, resampled),
            starts=starts,
            messages=self.messages,
            freedom=self._freedom(fit, resampled),
            least=least,
            comparisons=comparisons,
            signed=signed,
        )

    def _resampled(self) -> Floats:
        """Means of resampled starts: a row a resample, a column a length."""
        columns = []
        for i, values in enumerate(self.overheads):
            # A stream for each length: equal numbers of starts must not share their draws.
            rng = np.random.default_rng([self.seed, i, values.size])
            draws = rng.multinomial(values.size, np.full(values.size, 1 / values.size), RESAMPLES)
            columns.append(draws @ values / values.size)
        return np.stack(columns, axis=1)

    def _freedom(self, fit: Fit, resampled: Floats) -> float:
        """Degrees of freedom of a figure's variance, to which lengths contribute unequally.

        F. Satterthwaite, "An Approximate Distribution of Estimates of Variance Components", 1946.
        """
        means = resampled.mean(axis=0)
        total, weighted = 0.0, 0.0
        for i, values in enumerate(self.overheads):
            alone = np.tile(means, (RESAMPLES, 1))
            alone[:, i] = resampled[:, i]
            variance = float(fit(self.hops, alone).var())
            total += variance
            weighted += variance**2 / (values.size - 1)
        return total**2 / weighted if weighted else float(self.overheads[0].size - 1)


def _beside(i: int, others: list[int]) -> Fit:
    """The cost of a hop at length ``i`` over the mean of what one costs at other lengths."""

    def fit(hops: Floats, means: Floats) -> Floats:
        costs = means / hops
        ratio: Floats = costs[:, i] / costs[:, others].mean(axis=1)
        return ratio

    return fit


def _change(hops: Floats, means: Floats) -> Floats:
    """By what factor the cost of a hop changes from the shortest flow to the longest."""
    x = np.log(hops) - np.log(hops).mean()
    exponent = np.log(means / hops) @ x / (x @ x)
    change: Floats = np.exp(exponent * (np.log(hops).max() - np.log(hops).min()))
    return change


def _line(hops: Floats, means: Floats) -> tuple[Floats, Floats]:
    """Intercept and slope of overhead over hops, weighted by 1 / hops^2.

    The same as a line through the costs of a hop over 1 / hops: cost = slope + intercept / hops.
    """
    x = 1 / hops - (1 / hops).mean()
    costs = means / hops
    intercept: Floats = costs @ x / (x @ x)
    slope: Floats = costs.mean(axis=1) - intercept * (1 / hops).mean()
    return intercept, slope
