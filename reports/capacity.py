"""Up to which arrival rate hops stay short, and which step saturates first.

A search tries one rate a start, and answers with a bracket: the highest rate that held, and the
lowest that did not. Runs of older versions have a fixed ladder of rates instead; their capacity is
the highest rate at which the mean hop is certainly within the limit, and at all below it as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from reports import measures
from reports.cell_figures import single
from reports.changes import phase_cell
from reports.evidence import Evidence
from reports.probes import Probe, probe, within
from reports.queues import queue_figures
from reports.records import ScenarioRecord, SearchRecord
from reports.stats import mean
from reports.trials import Trial
from scenarios.model import Search
from scenarios.search import Probes, Verdict, answer, ending, settled, votes

Json = dict[str, Any]

LIMIT_MS = 15.0
"""What a hop may take on average (S11), on a fixed ladder."""
ALIKE = 0.10
"""Steps whose utilisation differs by less than this share are as busy as each other."""


def capacity(evidence: Evidence) -> list[Json]:
    """Of each search, or scenario whose phases are rates: what held, and which step saturates."""
    return [
        _searched(scenario, scenario.search, evidence)
        if scenario.search
        else _ladder(scenario, evidence)
        for scenario in evidence.run.scenarios
        if (scenario.search or scenario.ladder) and evidence.stored(scenario.name)
    ]


def _searched(scenario: ScenarioRecord, search: SearchRecord, evidence: Evidence) -> Json:
    stored = [probe(scenario, one, evidence.bootstrap) for one in evidence.stored(scenario.name)]
    made = sorted((one for one in stored if one), key=lambda one: one.trial.record.index)
    verdicts = [(one.rate_hz, one.verdict) for one in made]
    said, found = votes(verdicts), answer(verdicts)
    probes = sorted(made, key=lambda one: one.rate_hz)
    rungs = [_tried(one, evidence) for one in probes]
    return {
        "scenario": scenario.name, "limit_ms": search.limit_ms, "rungs": rungs,
        "highest_hz": found.held_hz, "first_to_saturate": _saturates(rungs, found.failed_hz),
        "search": {
            "failed_hz": found.failed_hz,
            "open_hz": list(found.open_hz),
            "late": any(settled(said[hz]) is Verdict.LATE for hz in found.open_hz),
            "lowest_hz": search.lowest_hz, "highest_hz": search.highest_hz,
            "factor": search.factor,
            "starts": len(probes),
            "most_starts": search.starts,
            "ended": _ended(search, verdicts),
            "messages": sum(one.trial.integrity.sent for one in probes),
            "rates": len(said),
        },
    }  # fmt: skip


def _ended(search: SearchRecord, verdicts: Probes) -> str | None:
    """Why it made no more starts; None in runs of versions that had no cap."""
    if search.starts is None:
        return None
    asked = Search(
        search.lowest_hz, search.highest_hz, search.factor, search.limit_ms, search.probe_s,
        search.starts,
    )  # fmt: skip
    return str(ending(asked, verdicts))


def _saturates(rungs: Sequence[Json], failed_hz: float | None) -> str | None:
    """The busiest step at the lowest rate that failed, else at the highest with figures."""
    shown = [rung for rung in rungs if rung["busiest"]]
    at = [rung for rung in shown if rung["rate_hz"] == failed_hz] or shown[-1:]
    return at[0]["busiest"] if at else None


def _tried(one: Probe, evidence: Evidence) -> Json:
    load = one.trial.record.load or {}
    steps = _utilisation([] if one.hop is None else [one.trial], evidence)
    return {
        "trial": one.trial.record.index,
        "rate_hz": one.rate_hz,
        "reached_hz": load.get("achieved_rate_hz"),
        "sent": one.trial.integrity.sent,
        "hop": single(one.hop, "ms"),
        "verdict": str(one.verdict),
        "busiest": _busiest({step["id"]: step["utilisation"]["value"] for step in steps}),
        "steps": steps,
        "why": "; ".join(one.trial.reasons),
    }


def _ladder(scenario: ScenarioRecord, evidence: Evidence) -> Json:
    phases = list(enumerate(scenario.phases or ()))
    phases.sort(key=lambda pair: pair[1].rate_hz or 0.0)
    rungs = [_rung(scenario, index, phase.rate_hz, evidence) for index, phase in phases]
    highest = None
    for rung in rungs:
        if rung["verdict"] != Verdict.HOLDS:
            break
        highest = rung["rate_hz"]
    busiest = next((rung["busiest"] for rung in reversed(rungs) if rung["busiest"]), None)
    return {
        "scenario": scenario.name, "limit_ms": LIMIT_MS, "rungs": rungs,
        "highest_hz": highest, "first_to_saturate": busiest,
    }  # fmt: skip


def _rung(scenario: ScenarioRecord, index: int, rate_hz: float | None, evidence: Evidence) -> Json:
    cell = phase_cell(evidence, scenario, index)
    mine = [
        trial for trial in evidence.stored(scenario.name)
        if trial.record.phase is not None and trial.record.phase.index == index
    ]  # fmt: skip
    valid = [trial for trial in mine if trial.valid]
    hop = None if cell is None else mean(cell.samples(measures.hops), evidence.bootstrap)
    steps = _utilisation(valid, evidence)
    return {
        "rate_hz": rate_hz,
        "hop": single(hop, "ms"),
        "verdict": str(within(hop, LIMIT_MS)),
        "busiest": _busiest({step["id"]: step["utilisation"]["value"] for step in steps}),
        "steps": steps,
        "why": "; ".join(sorted({reason for trial in mine for reason in trial.reasons})),
    }


def _utilisation(trials: Sequence[Trial], evidence: Evidence) -> list[Json]:
    return [
        {"id": str(step["id"]), "utilisation": step["utilisation"]}
        for length in queue_figures(trials, evidence.bootstrap)
        for step in length["steps"]
        if step.get("utilisation")
    ]


def _busiest(utilisation: Mapping[str, float]) -> str | None:
    """The step that is busiest, or those that are about as busy; None without any."""
    most = max(utilisation.values(), default=0.0)
    named = [step for step, value in utilisation.items() if value >= (1 - ALIKE) * most]
    return " or ".join(named) or None
