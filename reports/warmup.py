"""The warm-up of a flow: each step's phases from the call that asks for it to its first message.

Instants count from the moment the flow (an ordinary flow: the execution) was started. A phase ends
at the instant it is named after and begins at the one before it that was seen; an instant that was
not seen has no phase. The warm-up as a whole ends when the last step has handled its first message.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from reports.cells import Cell
from reports.executions import NS_PER_MS, Floats
from reports.records import InstanceRecord
from reports.stats import Samples
from reports.trials import Trial

PHASES = {
    "create": "engine_create_ns",
    "start": "engine_start_ns",
    "first instruction": "first_instruction_ns",
    "imports": "imported_ns",
    "connected": "connected_ns",
    "consuming": "consuming_ns",
    "first message": "first_message_ns",
}
"""Name of each phase, and the instant of an instance at which it ends."""


@dataclass(frozen=True, slots=True)
class Phase:
    """A phase of one step: when it began and ended, in ms after the flow's start."""

    step: str
    name: str
    from_ms: Samples
    to_ms: Samples

    def took_ms(self) -> Samples:
        """How long it lasted."""
        return replace(self.to_ms, values=self.to_ms.values - self.from_ms.values)


@dataclass(frozen=True, slots=True)
class WarmUp:
    """The warm-up of a cell: as a whole, and its phases in the order of steps and time."""

    total_ms: Samples
    phases: tuple[Phase, ...]


def warm_up(cell: Cell) -> WarmUp:
    """Collect the warm-up of every start of a cell."""
    launches = [launch for part in cell.parts for launch in _launches(part.trial, cell.ordinary)]
    totals: list[Floats] = []
    bounds: dict[tuple[int, str], tuple[list[Floats], list[Floats]]] = {}
    last = len(cell.step_ids) - 1
    for origin_ns, instances in launches:
        for instance in instances:
            for name, begin_ns, end_ns in _phases(instance):
                begins, ends = bounds.setdefault((instance.step, name), ([], []))
                begins.append(_ms(begin_ns, origin_ns))
                ends.append(_ms(end_ns, origin_ns))
        done = [i.first_message_ns for i in instances if i.step == last and i.first_message_ns]
        if done:
            totals.append(_ms(min(done), origin_ns))
    phases = [
        Phase(step_id, name, Samples.of(bounds[key][0]), Samples.of(bounds[key][1]))
        for index, step_id in enumerate(cell.step_ids)
        for name in PHASES
        if (key := (index, name)) in bounds
    ]
    return WarmUp(Samples.of(totals), tuple(phases))


def _launches(trial: Trial, ordinary: bool) -> list[tuple[int, list[InstanceRecord]]]:
    """The instances that were started together, and when that began."""
    record = trial.record
    if not ordinary:
        started = [i.create_ns for i in record.instances if i.create_ns is not None]
        origin_ns = record.flow_start_ns or min(started, default=None)
        return [] if origin_ns is None else [(origin_ns, list(record.instances))]
    groups: dict[int, list[InstanceRecord]] = {}
    for instance in record.instances:
        if instance.execution is not None:
            groups.setdefault(instance.execution, []).append(instance)
    launches = []
    for members in groups.values():
        started = [i.create_ns for i in members if i.create_ns is not None]
        if started:
            launches.append((min(started), members))
    return launches


def _phases(instance: InstanceRecord) -> list[tuple[str, int, int]]:
    """Name, begin and end of the phases of an instance that were seen."""
    found = []
    begin_ns = instance.create_ns
    for name, field in PHASES.items():
        end_ns: int | None = getattr(instance, field)
        if begin_ns is not None and end_ns is not None:
            found.append((name, begin_ns, end_ns))
        begin_ns = end_ns if end_ns is not None else begin_ns
    return found


def _ms(at_ns: int, origin_ns: int) -> Floats:
    return np.array([(at_ns - origin_ns) / NS_PER_MS])
