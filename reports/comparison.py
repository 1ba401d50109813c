"""An ordinary flow against a realtime one: how many times the one's figures are the other's."""

from __future__ import annotations

from typing import Any

from reports import measures, resources
from reports.cell_figures import single
from reports.cells import Cell
from reports.evidence import Evidence
from reports.stats import ratio
from runtime.model import FlowType

Json = dict[str, Any]


def comparison(evidence: Evidence) -> Json | None:
    """Ordinary over realtime, end-to-end and what a message costs; None without both."""
    ordinary = _standing_for(FlowType.ORDINARY, evidence)
    realtime = _standing_for(FlowType.REALTIME, evidence)
    if ordinary is None or realtime is None:
        return None
    bootstrap = evidence.bootstrap
    whole = ratio(
        ordinary.samples(measures.end_to_end), realtime.samples(measures.end_to_end), bootstrap
    )
    found: Json = {
        "ordinary": ordinary.scenario.name, "realtime": realtime.scenario.name,
        "end_to_end": single(whole, "x"),
    }  # fmt: skip
    ours, theirs = resources.per_message(ordinary), resources.per_message(realtime)
    if ours is None or theirs is None:
        return found
    return found | {
        kind: single(ratio(ours[kind], theirs[kind], bootstrap), "x")
        for kind in (*resources.COSTS, resources.PEAK)
    }


def _standing_for(mode: FlowType, evidence: Evidence) -> Cell | None:
    """The first cell of the scenario that is named after the mode, else of the first of it."""
    found = [
        cells[0]
        for scenario in evidence.run.scenarios
        if scenario.flow_type == mode and (cells := evidence.cells[scenario.name])
    ]
    named = [cell for cell in found if cell.scenario.name == mode]
    return next(iter(named or found), None)
