"""Up to which arrival rate hops stay short, and which step saturates first.

One start a rate, each rate above the one before. The capacity is the highest rate at which the mean
hop is certainly within the limit, and at every rate below it as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reports import measures
from reports.cell_figures import single
from reports.changes import phase_cell
from reports.evidence import Evidence
from reports.queues import queue_figures
from reports.records import ScenarioRecord
from reports.stats import Estimate, mean

Json = dict[str, Any]

LIMIT_MS = 15.0
"""What a hop may take on average (S11)."""
ALIKE = 0.10
"""Steps whose utilisation differs by less than this share are as busy as each other."""
HOLDS, FAILS, OPEN = "holds", "does not hold", "undecided"


def capacity(evidence: Evidence) -> list[Json]:
    """Of each scenario whose phases are rates: every rate, the highest that holds, and the step."""
    return [
        _ladder(scenario, evidence)
        for scenario in evidence.run.scenarios
        if scenario.ladder and evidence.stored(scenario.name)
    ]


def _ladder(scenario: ScenarioRecord, evidence: Evidence) -> Json:
    phases = list(enumerate(scenario.phases or ()))
    phases.sort(key=lambda pair: pair[1].rate_hz or 0.0)
    rungs = [_rung(scenario, index, phase.rate_hz, evidence) for index, phase in phases]
    highest = None
    for rung in rungs:
        if rung["verdict"] != HOLDS:
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
    steps = [
        {"id": str(step["id"]), "utilisation": step["utilisation"]}
        for length in queue_figures(valid, evidence.bootstrap) or ()
        for step in length["steps"]
        if step.get("utilisation")
    ]
    return {
        "rate_hz": rate_hz,
        "hop": single(hop, "ms"),
        "verdict": _verdict(hop),
        "busiest": _busiest({step["id"]: step["utilisation"]["value"] for step in steps}),
        "steps": steps,
        "why": "; ".join(sorted({reason for trial in mine for reason in trial.reasons})),
    }


def _busiest(utilisation: Mapping[str, float]) -> str | None:
    """The step that is busiest, or those that are about as busy; None without any."""
    most = max(utilisation.values(), default=0.0)
    named = [step for step, value in utilisation.items() if value >= (1 - ALIKE) * most]
    return " or ".join(named) or None


def _verdict(hop: Estimate | None) -> str:
    if hop is None or hop.low is None or hop.high is None:
        return OPEN
    if hop.high <= LIMIT_MS:
        return HOLDS
    return FAILS if hop.low > LIMIT_MS else OPEN
