"""What one start of a search says of the rate that it tried."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from reports import measures
from reports.blocks import MIN_MESSAGES
from reports.cells import group
from reports.records import ScenarioRecord
from reports.rundir import read_one
from reports.stats import Bootstrap, Estimate, Samples, mean
from reports.trend import trend
from reports.trials import Trial, analyse_trial
from scenarios.search import Verdict

REACHED = 0.99
"""Share of the schedule's rate from which on all of the load was sent."""
WINDOWS = 20
"""Parts of a start's messages whose means are watched for growth."""


@dataclass(frozen=True, slots=True)
class Probe:
    """A start at one rate. ``hop`` is None where more is amiss than the load generator was late."""

    trial: Trial
    rate_hz: float
    hop: Estimate | None
    verdict: Verdict


def judge(run_dir: Path, index: int) -> Verdict:
    """What a stored trial of a search found. Raises FormatError where it cannot be read."""
    run, data = read_one(run_dir, index)
    scenario = next(one for one in run.scenarios if one.name == data.record.scenario)
    found = probe(scenario, analyse_trial(data), Bootstrap(run.seed))
    return Verdict.OPEN if found is None else found.verdict


def probe(scenario: ScenarioRecord, trial: Trial, bootstrap: Bootstrap) -> Probe | None:
    """A trial as a probe; None where it is none."""
    if scenario.search is None or trial.record.probe is None:
        return None
    rate_hz = trial.record.probe.rate_hz
    cells = group(scenario, [trial]) if trial.valid or trial.late else ()
    if not cells:
        return Probe(trial, rate_hz, None, Verdict.OPEN)
    samples = cells[0].samples(measures.hops)
    hop = mean(samples, bootstrap)
    says = late_says if trial.late else timely_says
    return Probe(trial, rate_hz, hop, says(trial, samples, hop, scenario.search.limit_ms))


def timely_says(_trial: Trial, samples: Samples, hop: Estimate | None, limit_ms: float) -> Verdict:
    """What a start says whose messages were sent when they were due."""
    verdict = within(hop, limit_ms)
    if verdict is Verdict.OPEN and outgrows(samples, limit_ms):
        return Verdict.FAILS
    return verdict


def late_says(trial: Trial, samples: Samples, hop: Estimate | None, limit_ms: float) -> Verdict:
    """What a start says whose generator was late, where its lateness cannot be the cause.

    Messages that were held up and then sent at once are the harder load: where all of it was sent,
    short hops hold. In a first-in-first-out flow, messages that are sent later by no more than L
    leave later by no more than L: hops that are beyond the limit by more than L would be beyond it
    without any lateness. Late in all other cases.
    """
    load = trial.record.load or {}
    due_hz, reached_hz, most_late_ms = (
        load.get(name) for name in ("target_rate_hz", "achieved_rate_hz", "lag_max_ms")
    )
    if due_hz is None or reached_hz is None or most_late_ms is None:
        return Verdict.LATE
    if reached_hz >= REACHED * due_hz and within(hop, limit_ms) is Verdict.HOLDS:
        return Verdict.HOLDS
    fails = timely_says(trial, samples, hop, limit_ms + most_late_ms) is Verdict.FAILS
    return Verdict.FAILS if fails else Verdict.LATE


def outgrows(samples: Samples, limit_ms: float) -> bool:
    """Whether the hops of a start grow (Mann and Kendall), on average and at last over the limit.

    Messages behind a queue that grows are too much alike to give their mean an interval: a step
    that cannot follow would never be found by that alone.
    """
    messages = samples.values.reshape(-1, samples.width).mean(axis=1)
    if messages.size < MIN_MESSAGES:
        return False
    windows = np.array([part.mean() for part in np.array_split(messages, WINDOWS)])
    found = trend(np.arange(WINDOWS, dtype=np.float64), windows)
    grows = found is not None and found.there and found.slope > 0
    return grows and bool(messages.mean() > limit_ms) and bool(windows[-1] > limit_ms)


def within(hop: Estimate | None, limit_ms: float) -> Verdict:
    """Whether a mean hop is certainly within the limit, or certainly beyond it."""
    if hop is None or hop.low is None or hop.high is None:
        return Verdict.OPEN
    if hop.high <= limit_ms:
        return Verdict.HOLDS
    return Verdict.FAILS if hop.low > limit_ms else Verdict.OPEN
