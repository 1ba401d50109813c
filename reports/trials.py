"""One trial, joined and judged: whether its measurements may be used.

A trial that the bench called valid is called invalid here when its records contradict that:
messages lost, executions with missing records, clocks that differ.
"""

from __future__ import annotations

from dataclasses import dataclass

from reports.executions import RESIDUAL_LIMIT, Executions, join
from reports.records import TrialRecord
from reports.rundir import ResourceTable, TrialData

VALID, INVALID, FAILED = "valid", "invalid", "failed"


@dataclass(frozen=True, slots=True)
class Trial:
    """A trial's record, its executions, and whether they may be used (``status``)."""

    record: TrialRecord
    executions: Executions
    resources: ResourceTable
    status: str
    reasons: tuple[str, ...]

    @property
    def valid(self) -> bool:
        """Whether figures may be computed from it."""
        return self.status == VALID

    @property
    def lost(self) -> int:
        """Messages lost, by the bench's count or by the records', whichever is more."""
        counted = self.record.accounting
        return max(self.executions.integrity.lost, counted.lost if counted else 0)


def analyse_trial(data: TrialData) -> Trial:
    """Join the spans of a trial and judge it."""
    record = data.record
    executions = join(data.spans, len(record.steps))
    reasons = [*record.reasons]
    if record.status == VALID:
        found = _contradictions(record, executions)
        status = INVALID if found else VALID
        reasons += found
    else:
        status = record.status
    return Trial(record, executions, data.resources, status, tuple(reasons))


def _contradictions(record: TrialRecord, executions: Executions) -> list[str]:
    """Why a trial's own records forbid its use."""
    integrity = executions.integrity
    lost = max(integrity.lost, record.accounting.lost if record.accounting else 0)
    found = []
    if lost:
        found.append(f"{lost} of {integrity.sent} messages were accepted and then lost")
    if integrity.residual_over_limit:
        found.append(
            f"the parts of {integrity.residual_over_limit} executions do not add up to the whole "
            f"within {RESIDUAL_LIMIT:.0%}: span records are missing"
        )
    clocks = {record.clock_id, *record.clock_ids_seen}
    if len(clocks) > 1:
        found.append(f"{len(clocks)} different clocks were seen: {', '.join(sorted(clocks))}")
    if executions.count and int(executions.cell.max()) >= len(record.message_cells):
        found.append("messages carry the index of a message cell that the trial does not have")
    if not executions.count:
        found.append("no execution went through all steps")
    return found
