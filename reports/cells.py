"""Cells: the executions of a scenario that were measured under the same conditions.

A cell is a start-level cell (the number of containers) and a message cell (payload, API delay).
In a realtime flow a trial is one start, and its cold executions are kept apart. In an ordinary flow
every execution starts containers of its own: each is a start, and none is warm.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from reports import measures
from reports.executions import Executions, Floats
from reports.measures import Mask
from reports.records import MessageCellRecord, ScenarioRecord
from reports.stats import Samples
from reports.trials import Trial
from runtime.model import FlowType

Measure = Callable[[Executions, Mask], Floats]


@dataclass(frozen=True, slots=True)
class Part:
    """The executions of one trial that belong to a cell."""

    trial: Trial
    judged: Mask
    cold: Mask

    @property
    def executions(self) -> Executions:
        """All executions of the trial, for the masks."""
        return self.trial.executions


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of a scenario, with the valid trials that measured it."""

    scenario: ScenarioRecord
    containers: int
    message_cell: MessageCellRecord
    step_ids: tuple[str, ...]
    parts: tuple[Part, ...]

    @property
    def ordinary(self) -> bool:
        """Whether the flow is an ordinary one."""
        return self.scenario.flow_type == FlowType.ORDINARY

    @property
    def alone(self) -> bool:
        """Whether its starts carried no messages of other cells."""
        return len(self.scenario.message_cells) == 1

    @property
    def messages(self) -> int:
        """Executions in it, the cold ones included."""
        return sum(int(part.judged.sum() + part.cold.sum()) for part in self.parts)

    @property
    def starts(self) -> int:
        """Starts in it: trials of a realtime flow, executions of an ordinary one."""
        return self.messages if self.ordinary else len(self.parts)

    def name(self) -> str:
        """The cell in words."""
        delay = self.message_cell.api_delay_ms
        words = f"{self.containers} containers, {self.message_cell.payload_bytes} B"
        if delay is not None:
            words += f", API {delay:g} ms"
        injected = self.message_cell.injected_delay_ms
        if injected is not None:
            words += f", {self.message_cell.delayed_step} delayed by {injected:g} ms"
        if self.message_cell.network_delay_ms is not None:
            words += f", network {self.message_cell.network_delay_ms:g} ms"
        return words

    def samples(self, measure: Measure, *, cold: bool = False) -> Samples:
        """A measure of the warm executions (all, in an ordinary flow), or of the cold ones."""
        groups: list[Floats] = []
        width = 1
        for part in self.parts:
            mask = part.cold if cold else part.judged
            count = int(mask.sum())
            if not count:
                continue
            values = measure(part.executions, mask)
            width = values.size // count
            groups += list(values.reshape(count, -1)) if self.ordinary else [values]
        return Samples.of(groups, max(width, 1))

    def where(self, holds: Callable[[Executions], Mask]) -> Cell:
        """The cell with only those of its executions of which something holds."""
        parts = []
        for part in self.parts:
            kept = holds(part.executions)
            parts.append(replace(part, judged=part.judged & kept, cold=part.cold & kept))
        return replace(self, parts=tuple(parts))

    def series(self) -> list[Floats]:
        """End-to-end latency of each start in the order of its messages, cold ones included."""
        return [
            measures.end_to_end(part.executions, part.judged | part.cold) for part in self.parts
        ]


def group(scenario: ScenarioRecord, trials: list[Trial]) -> tuple[Cell, ...]:
    """The cells of a scenario, from its valid trials; in the scenario's own order."""
    by_length: dict[int, list[Trial]] = {}
    for trial in trials:
        by_length.setdefault(len(trial.record.steps), []).append(trial)
    cells: list[Cell] = []
    for containers in sorted(by_length):
        found = by_length[containers]
        step_ids = tuple(step.id for step in found[0].record.steps)
        for index, message_cell in enumerate(scenario.message_cells):
            parts = [_part(trial, index, scenario) for trial in found]
            filled = tuple(part for part in parts if part.judged.any() or part.cold.any())
            if filled:
                cells.append(Cell(scenario, containers, message_cell, step_ids, filled))
    return tuple(cells)


def _part(trial: Trial, index: int, scenario: ScenarioRecord) -> Part:
    rows = trial.executions
    inside = rows.cell == index
    if scenario.flow_type == FlowType.ORDINARY:
        return Part(trial, inside, np.zeros_like(inside))
    return Part(trial, inside & ~rows.cold, inside & rows.cold)
