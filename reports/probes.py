"""What one start of a search says of the rate that it tried."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from reports import measures
from reports.cells import group
from reports.records import ScenarioRecord
from reports.rundir import read_one
from reports.stats import Bootstrap, Estimate, mean
from reports.trials import Trial, analyse_trial
from scenarios.model import Verdict


@dataclass(frozen=True, slots=True)
class Probe:
    """A start at one rate. ``hop`` is None where the trial is not valid."""

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
    if trial.late:
        return Probe(trial, rate_hz, None, Verdict.LATE)
    cells = group(scenario, [trial]) if trial.valid else ()
    hop = mean(cells[0].samples(measures.hops), bootstrap) if cells else None
    return Probe(trial, rate_hz, hop, within(hop, scenario.search.limit_ms))


def within(hop: Estimate | None, limit_ms: float) -> Verdict:
    """Whether a mean hop is certainly within the limit, or certainly beyond it."""
    if hop is None or hop.low is None or hop.high is None:
        return Verdict.OPEN
    if hop.high <= limit_ms:
        return Verdict.HOLDS
    return Verdict.FAILS if hop.low > limit_ms else Verdict.OPEN
