"""One trial, joined and judged: whether its measurements may be used.

A trial that the bench called valid is called invalid here when its records contradict that:
messages lost, executions with missing records, times that do not add up, clocks that differ.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from reports.activity import Activity, Deliveries, activities, deliveries
from reports.executions import Executions, join
from reports.integrity import RESIDUAL_ALLOWED, RESIDUAL_LIMIT, Integrity, with_stored
from reports.queueing import Station, observe
from reports.records import TrialRecord
from reports.rundir import ObservedTable, ResourceTable, SpanTable, TrialData
from runtime.model import FlowType
from runtime.spans import MARK

VALID, INVALID, FAILED = "valid", "invalid", "failed"
LATE = "the load generator"
"""How the bench begins a reason that is the load generator's own lateness."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A trial's record, its executions, and whether they may be used (``status``).

    ``stations`` are the queues and steps of a realtime flow, as far as they were seen; ``activity``
    is how often each step was called and emitted. ``deliveries`` are there where executions are no
    chains.
    """

    record: TrialRecord
    executions: Executions
    resources: ResourceTable
    status: str
    reasons: tuple[str, ...]
    stations: tuple[Station | None, ...] = ()
    observed: ObservedTable | None = None
    activity: tuple[Activity | None, ...] = ()
    deliveries: Deliveries | None = None

    @property
    def valid(self) -> bool:
        """Whether figures may be computed from it."""
        return self.status == VALID

    @property
    def late(self) -> bool:
        """Whether nothing but the load generator's lateness forbids its use.

        Its schedule does not wait for the flow: that it was late says nothing against the flow.
        """
        late = bool(self.reasons) and all(reason.startswith(LATE) for reason in self.reasons)
        return self.status == INVALID and late

    @property
    def integrity(self) -> Integrity:
        """What is odd in all of it, by the bench's count or by the records', whichever is more."""
        found, stored = self.executions.integrity, self.record.accounting
        if stored is None:
            return found
        return with_stored(found, lost=stored.lost, duplicated=stored.duplicated)

    def integrity_of(self, cell: int) -> Integrity:
        """What is odd in the messages of one of its message cells."""
        if len(self.record.message_cells) == 1:
            return self.integrity
        return self.executions.integrity_by_cell.get(cell, Integrity())


def analyse_trial(data: TrialData, *, unprompted: bool = False) -> Trial:
    """Join the spans of a trial and judge it.

    ``unprompted``: its steps emit of their own accord, so its executions are no chains.
    """
    record = data.record
    steps = len(record.steps)
    trial = Trial(
        record, join(data.spans, steps), data.resources, record.status, record.reasons,
        observed=data.observed, activity=activities(data.spans, steps),
        deliveries=deliveries(data.spans) if unprompted else None,
    )  # fmt: skip
    if not (trial.valid or trial.late):
        return trial
    found = _contradictions(trial, data.spans, chains=not unprompted)
    status = INVALID if found else record.status
    trial = replace(trial, status=status, reasons=(*record.reasons, *found))
    if (trial.valid or trial.late) and record.flow_type == FlowType.REALTIME and not unprompted:
        trial = replace(trial, stations=observe(data.spans, trial.executions))
    return trial


def _contradictions(trial: Trial, spans: SpanTable, *, chains: bool) -> list[str]:
    """Why a trial's own records forbid its use."""
    record, integrity = trial.record, trial.integrity
    found = []
    if integrity.lost:
        found.append(f"{integrity.lost} of {integrity.sent} messages were accepted and then lost")
    if not chains:
        pass
    elif integrity.incomplete:
        found.append(
            f"the records of {integrity.incomplete} of {integrity.ended} executions make no whole "
            "path from the send to the end: span records are missing"
        )
    elif not integrity.conserved:
        found.append(
            f"the parts of {integrity.residual_over_limit} of {integrity.ended} executions do not "
            f"add up to the whole within {RESIDUAL_LIMIT:.0%} (allowed: {RESIDUAL_ALLOWED:.1%} of "
            f"them); the largest residual is {integrity.residual_max_share:.3g} of an execution"
        )
    clocks = {record.clock_id, *record.clock_ids_seen}
    if len(clocks) > 1:
        found.append(f"{len(clocks)} different clocks were seen: {', '.join(sorted(clocks))}")
    outside = _outside(record, spans)
    if outside:
        found.append(
            f"{outside} of {spans.kind.size} records lie outside the time of the trial: they are "
            "of another clock or of another trial"
        )
    rows = trial.executions
    if rows.count and int(rows.cell.max()) >= len(record.message_cells):
        found.append("messages carry the index of a message cell that the trial does not have")
    if not rows.count and chains:
        found.append("no execution went through all steps")
    return found


def _outside(record: TrialRecord, spans: SpanTable) -> int:
    """Records with an instant before the trial began or after it ended; 0 ns is no instant."""
    if record.start_ns is None or record.end_ns is None:
        return 0
    outside = np.zeros(spans.kind.shape, dtype=np.bool_)
    for instants in (spans.t0_ns, spans.t1_ns, spans.t2_ns, spans.t3_ns):
        early, late = instants < record.start_ns, instants > record.end_ns
        outside |= (early | late) & (instants != 0)
    # What a MARK carries in its other fields is no instant.
    mark = spans.kind == MARK
    outside[mark] = (spans.t0_ns[mark] < record.start_ns) | (spans.t0_ns[mark] > record.end_ns)
    return int(outside.sum())
