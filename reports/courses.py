"""Ways to describe how a series goes on, and which of them describes it best.

Each description is fitted by least squares. The best one has the least Bayesian information
criterion (G. Schwarz, 1978), with ``PRICE`` times the usual price of a parameter, since change
points and periods are searched for, and with as many observations as independent ones would say as
much (the number of points over the autocorrelation time of what the best fit leaves).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reports.blocks import correlation_time

Floats = npt.NDArray[np.float64]

PRICE = 2.0
PENALTY = 15.0
"""Times the variance times log(points): as Barrett et al. chose it, deaf to autocorrelation."""
KNOTS = 48
"""Places where a ramp may begin and end, beside the first few points."""
BRIEF = 0.06
"""Share of a series below which a departure from its level is a disturbance, not a state."""
MIN_PERIODS = 2
OVERSAMPLING = 8


@dataclass(frozen=True, slots=True)
class Course:
    """A description: its number of parameters, its values, and where its last level begins.

    ``begin`` is None where there is no last level: the series goes on changing.
    """

    parameters: int
    fitted: Floats
    begin: int | None


def best_course(series: Floats, *, equivalent: float, share: float, drifts: bool) -> Course:
    """The description that fits best; ``drifts`` says whether it may change throughout.

    Levels that differ by less than ``equivalent`` are one. A last level that does not span
    ``share`` of the series is none.
    """
    flat = Course(1, np.full(series.size, series.mean()), 0)
    courses = [flat, _steps(series, equivalent), _ramp(series, share)]
    courses += [_cycle(series, harmonics) for harmonics in (1, 3)]
    if drifts:
        courses.append(_drift(series))
    independent = series.size / min(correlation_time(series - c.fitted) for c in courses)

    def criterion(course: Course) -> float:
        error = max(float(np.square(series - course.fitted).mean()), 1e-12)
        price = PRICE * course.parameters * np.log(max(independent, 2.0))
        return float(independent * np.log(error) + price)

    best = min(courses, key=criterion)
    return flat if np.ptp(best.fitted) < equivalent else best


def _steps(series: Floats, equivalent: float) -> Course:
    """Levels that change at once."""
    # Differences of neighbours show the noise without the changes of level (von Neumann, 1941).
    noise = np.median(np.abs(np.diff(series))) / (0.6745 * np.sqrt(2))
    penalty = PENALTY * max(float(noise) ** 2, 1e-6) * np.log(series.size)
    bounds = level_bounds(series, penalty)
    levels = np.array([series[a:b].mean() for a, b in itertools.pairwise(bounds)])
    fitted = np.repeat(levels, np.diff(bounds))
    same = [bool(alike) for alike in np.abs(levels - levels[-1]) < equivalent]
    return Course(2 * levels.size - 1, fitted, _last_level(bounds, same))


def level_bounds(series: Floats, penalty: float) -> list[int]:
    """Where the levels of a series begin, and its size at the end: ``[0, ..., size]``.

    The levels of least squared error with ``penalty`` for each change: optimal partitioning
    (B. Jackson et al., 2005). PELT (R. Killick et al., 2012) finds the same with less work, from
    thousands of points on; there are hundreds here. Ours because the library that has it takes a
    second of every report to import; a test holds it against that one.
    """
    size = series.size
    centred = series - series.mean()
    sums, squares = (np.append(0.0, np.cumsum(each)) for each in (centred, centred**2))
    least, begins = np.full(size + 1, -penalty), np.zeros(size + 1, dtype=int)
    for end in range(1, size + 1):
        lengths = np.arange(end, 0, -1)
        errors = squares[end] - squares[:end] - (sums[end] - sums[:end]) ** 2 / lengths
        costs = least[:end] + errors
        begins[end] = np.argmin(costs)
        least[end] = costs[begins[end]] + penalty
    bounds = [size]
    while bounds[0]:
        bounds.insert(0, int(begins[bounds[0]]))
    return bounds


def _last_level(bounds: list[int], same: list[bool]) -> int | None:
    """Where the last level begins, given which segments are on it.

    Brief departures from it are overlooked. One longer departure ends what was before; a level
    that is left and reached again more than once, or briefly more than twice, is a cycle's.
    """
    begin: int | None = None
    left = long = 0
    at = len(same) - 1
    while True:
        while at > 0 and same[at - 1]:
            at -= 1
        back = at - 1
        while back >= 0 and not same[back]:
            back -= 1
        if back < 0:
            break
        left += 1
        if bounds[at] - bounds[back + 1] >= BRIEF * bounds[-1]:
            long += 1
            begin = begin if begin is not None else bounds[at]
        at = back
    if long > 1 or left > 2:
        return None
    return begin if begin is not None else bounds[at]


def _ramp(series: Floats, share: float) -> Course:
    """A level, a straight way to another, and that one; either level may be missing."""
    n = series.size
    knots = np.unique(np.append(np.arange(min(8, n)), np.linspace(0, n - 1, KNOTS).astype(int)))
    begins, ends = (side.ravel() for side in np.meshgrid(knots, knots))
    begins, ends = begins[begins < ends], ends[begins < ends]
    ways = np.clip((np.arange(n) - begins[:, None]) / (ends - begins)[:, None], 0, 1)
    ways -= ways.mean(axis=1, keepdims=True)
    products, squares = ways @ (series - series.mean()), np.square(ways).sum(axis=1)
    found = int(np.argmax(products**2 / squares))
    fitted = series.mean() + products[found] / squares[found] * ways[found]
    end = int(ends[found])
    return Course(4, fitted, end if n - end >= share * n else None)


def _drift(series: Floats) -> Course:
    """A straight line from the first point to the last."""
    at = np.arange(series.size) - (series.size - 1) / 2
    return Course(2, series.mean() + at * (at @ series) / (at @ at), None)


def _cycle(series: Floats, harmonics: int) -> Course:
    """A period of which there are ``MIN_PERIODS`` at least, with its ``harmonics``."""
    n = series.size
    power = np.abs(np.fft.rfft(series - series.mean(), n * OVERSAMPLING)) ** 2
    candidates = np.arange(MIN_PERIODS * OVERSAMPLING, n * OVERSAMPLING // (4 * harmonics))
    if not candidates.size:
        return Course(1, np.full(n, series.mean()), 0)
    orders = range(1, harmonics + 1)
    total = sum(power[candidates * order] for order in orders)
    frequency = candidates[int(np.argmax(total))] / (n * OVERSAMPLING)
    angles = [2 * np.pi * frequency * order * np.arange(n) for order in orders]
    waves = [wave(angle) for angle in angles for wave in (np.cos, np.sin)]
    basis = np.stack([np.ones(n), *waves], axis=1)
    weights = np.linalg.lstsq(basis, series)[0]
    return Course(2 + 2 * harmonics, basis @ weights, None)
