"""95 % intervals hold the truth in 93 to 97 of 100 simulated runs, with fixed seeds.

What is simulated is what decision 0014 speaks of: AR(1) within a start, alone or with starts that
have levels of their own. The truth is that of the distribution the values are drawn from.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy import signal, special

from reports.stats import Basis, Bootstrap, Floats, Samples, mean, quantiles

REPETITIONS = 2000
"""At 95 %, a coverage that is seen has a standard deviation of 0.5 %."""
MESSAGES = 400
BETWEEN, WITHIN = 0.15, 0.4
"""Standard deviations of starts and of messages, on the logarithm."""


def ar1(rng: np.random.Generator, phi: float, shape: tuple[int, ...]) -> Floats:
    """Gaussian series of variance 1 along the last axis, each value ``phi`` like its neighbour."""
    noise = rng.normal(0, np.sqrt(1 - phi**2), shape)
    noise[..., 0] /= np.sqrt(1 - phi**2)
    series: Floats = signal.lfilter([1], [1, -phi], noise)
    return series


def truths(sigma: float) -> tuple[float, float, float]:
    """Mean, p50 and p95 of a log-normal distribution around 1."""
    return float(np.exp(sigma**2 / 2)), 1.0, float(np.exp(sigma * special.ndtri(0.95)))


def covered(runs: list[list[Floats]], true: tuple[float, float, float], basis: Basis) -> Floats:
    """The share of runs whose intervals of mean, p50 and p95 hold the truth.

    Runs that are too short for an interval are left out, and must be few.
    """
    bootstrap = Bootstrap(1)
    hits = np.zeros(3)
    without = 0
    for starts in runs:
        samples = Samples.of(starts)
        found = (mean(samples, bootstrap), *quantiles(samples, (0.5, 0.95), bootstrap))
        for i, estimate in enumerate(found):
            assert estimate is not None
            if estimate.low is None or estimate.high is None:
                without += i == 0
                continue
            assert estimate.basis is basis
            hits[i] += estimate.low <= true[i] <= estimate.high
    assert without <= 0.02 * len(runs)
    shares: Floats = hits / (len(runs) - without)
    return shares


@pytest.mark.parametrize("phi", [0.0, 0.5, 0.8])
def test_blocks_of_one_start(phi: float) -> None:
    """Over blocks of one start's skewed, autocorrelated latencies."""
    series = np.exp(0.5 * ar1(np.random.default_rng(5), phi, (REPETITIONS, MESSAGES)))
    shares = covered([[start] for start in series], truths(0.5), Basis.BLOCKS)
    assert ((shares >= 0.93) & (shares <= 0.97)).all(), shares


@pytest.mark.parametrize("starts", [3, 5, 10, 20])
def test_starts_of_two_levels(starts: int) -> None:
    """Over starts that differ, each with autocorrelated messages."""
    rng = np.random.default_rng(2)
    levels = BETWEEN * rng.normal(size=(REPETITIONS, starts, 1))
    runs = np.exp(levels + WITHIN * ar1(rng, 0.5, (REPETITIONS, starts, 100)))
    true = truths(float(np.hypot(BETWEEN, WITHIN)))
    shares = covered([list(run) for run in runs], true, Basis.STARTS)
    assert ((shares >= 0.93) & (shares <= 0.97)).all(), shares


def test_blocks_of_gaussian_values() -> None:
    """Over blocks of values that are not skewed, some of them below zero."""
    series = ar1(np.random.default_rng(3), 0.8, (REPETITIONS, MESSAGES))
    true = 0.0, 0.0, float(special.ndtri(0.95))
    shares = covered([[start] for start in series], true, Basis.BLOCKS)
    assert ((shares >= 0.93) & (shares <= 0.97)).all(), shares


def test_intervals_that_ignore_it_do_not_cover(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same simulations see it where messages are taken as independent."""
    # Each message is a block of its own, or a start of its own.
    monkeypatch.setattr("reports.blocks.correlation_time", lambda _: 1.0)
    monkeypatch.setattr("reports.blocks.LENGTH", 1.0)
    monkeypatch.setattr("reports.blocks.MAX_BLOCKS", MESSAGES)
    rng = np.random.default_rng(1)
    series = np.exp(0.5 * ar1(rng, 0.8, (200, MESSAGES)))
    assert covered([[start] for start in series], truths(0.5), Basis.BLOCKS).max() < 0.75
    levels = BETWEEN * rng.normal(size=(200, 5, 1))
    runs = np.exp(levels + WITHIN * ar1(rng, 0.5, (200, 5, 100))).reshape(200, -1, 1)
    true = truths(float(np.hypot(BETWEEN, WITHIN)))
    assert covered([list(run) for run in runs], true, Basis.STARTS).max() < 0.85
