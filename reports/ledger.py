"""What became of every message: counts by cell, over all trials that were stored, valid or not.

Figures rest on valid trials only; a trial that lost messages is in none of them. So what was lost,
duplicated or contradictory is counted here, where no trial is left out.
"""

from __future__ import annotations

from typing import Any

from reports.cells import Cell
from reports.evidence import Evidence
from reports.integrity import RESIDUAL_ALLOWED, RESIDUAL_LIMIT, Integrity, total
from reports.records import MessageCellRecord, ScenarioRecord
from reports.trials import Trial

Json = dict[str, Any]


def ledger(evidence: Evidence) -> list[Json]:
    """One row for each cell of which a trial was stored, in the order of the scenarios."""
    rows = []
    for scenario in evidence.run.scenarios:
        by_length: dict[int, list[Trial]] = {}
        for trial in evidence.stored(scenario.name):
            by_length.setdefault(len(trial.record.steps), []).append(trial)
        for containers in sorted(by_length):
            for index, message_cell in enumerate(scenario.message_cells):
                rows.append(_row(scenario, containers, message_cell, index, by_length[containers]))
    return rows


def _row(
    scenario: ScenarioRecord,
    containers: int,
    message_cell: MessageCellRecord,
    index: int,
    trials: list[Trial],
) -> Json:
    counted = total([trial.integrity_of(index) for trial in trials])
    return {
        "scenario": scenario.name,
        "cell": {
            "containers": containers,
            "payload_bytes": message_cell.payload_bytes,
            "api_delay_ms": message_cell.api_delay_ms,
            "delayed_step": message_cell.delayed_step,
            "injected_delay_ms": message_cell.injected_delay_ms,
            "network_delay_ms": message_cell.network_delay_ms,
        },
        "trials": len(trials),
        "valid": sum(trial.valid for trial in trials),
        # A damaged record names no message that could be trusted: it counts in each of them.
        "damaged_records": sum(trial.record.damaged_records or 0 for trial in trials),
        "accounting": accounting(counted),
        "residual": residual(counted),
    }


def of_cell(cell: Cell) -> tuple[Json, Json]:
    """Accounting and residual of a cell's own messages, over the valid trials that measured it."""
    index = cell.scenario.message_cells.index(cell.message_cell)
    counted = total([part.trial.integrity_of(index) for part in cell.parts])
    return accounting(counted), residual(counted)


def accounting(counted: Integrity) -> Json:
    """What became of messages, as ``results.json`` has it."""
    return {
        "sent": counted.sent,
        "handled": counted.handled,
        "failed": counted.failed,
        "lost": counted.lost,
        "duplicated": counted.duplicated,
        "reordered": counted.reordered,
        "incomplete": counted.incomplete,
        "negative_intervals": counted.negative,
        "negative_transits": counted.negative_transit,
        "zero_intervals": counted.zero,
    }


def residual(counted: Integrity) -> Json:
    """How well the parts of executions add up, as ``results.json`` has it."""
    return {
        "max_share": counted.residual_max_share,
        "over_limit": counted.residual_over_limit,
        "share_over_limit": counted.residual_share_over_limit,
        "executions": counted.ended,
        "limit": RESIDUAL_LIMIT,
        "allowed_share": RESIDUAL_ALLOWED,
    }
