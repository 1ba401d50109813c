"""What a flow did while it was changed: its phases, pass by pass, and what its messages said.

A revision is what a message itself carries, not what whoever started the flow believes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from reports import measures
from reports.cell_figures import statistic
from reports.cells import Cell, group
from reports.evidence import Evidence
from reports.records import DeedRecord, ScenarioRecord
from reports.stats import Bootstrap
from reports.trials import Trial
from reports.warmup import warm_up

Json = dict[str, Any]

DEPLOY, DRAFT, PUBLISH, SWITCH = "deploy", "draft", "publish", "switch"


@dataclass(frozen=True, slots=True)
class Passing:
    """One pass through the phases of a scenario: the trials that can be used, by phase."""

    number: int
    trials: Mapping[int, Trial]

    def deeds(self, until: int) -> list[DeedRecord]:
        """What was done from the beginning to the end of a phase, in order."""
        return [
            deed
            for index in sorted(self.trials)
            if index <= until
            for deed in self.trials[index].record.deeds or ()
        ]


@dataclass(frozen=True, slots=True)
class Seen:
    """A message that was observed: when it was emitted, and what its field said."""

    at_ns: int
    value: str


def passes(evidence: Evidence, scenario: str) -> list[Passing]:
    """The passes of a scenario, in order.

    A trial whose load generator alone was late can be used: what a message says does not depend on
    when it was sent.
    """
    found: dict[int, dict[int, Trial]] = {}
    for trial in evidence.stored(scenario):
        phase = trial.record.phase
        if phase is not None and (trial.valid or trial.late):
            found.setdefault(phase.round, {})[phase.index] = trial
    return [Passing(number, found[number]) for number in sorted(found)]


def said(trial: Trial, field: str) -> list[Seen]:
    """What the messages of a trial said in a field, in order of time."""
    table = trial.observed
    if table is None:
        return []
    rows = [row for row, name in enumerate(table.field) if name == field]
    return sorted(
        (Seen(int(table.at_ns[row]), table.value[row]) for row in rows), key=lambda one: one.at_ns
    )


def newest(deeds: Sequence[DeedRecord], component: str, until_ns: int | None) -> int | None:
    """The newest revision of a component that had been deployed by an instant."""
    numbers = [
        number
        for deed in deeds
        if deed.deed == DEPLOY and (until_ns is None or deed.until_ns <= until_ns)
        and (number := pinned(deed, component)) is not None
    ]  # fmt: skip
    return max(numbers, default=None)


def pinned(deed: DeedRecord, component: str) -> int | None:
    """Which revision of a component a deed made or pinned."""
    number = deed.revisions.get(component)
    return number if isinstance(number, int) else None


def phase_cell(evidence: Evidence, scenario: ScenarioRecord, index: int) -> Cell | None:
    """The valid trials of a phase as a cell, whose flow type is the phase's."""
    phase = (scenario.phases or ())[index]
    trials = [
        trial for trial in evidence.valid(scenario.name)
        if trial.record.phase is not None and trial.record.phase.index == index
    ]  # fmt: skip
    found = group(replace(scenario, flow_type=phase.flow_type), trials)
    return found[0] if found else None


def changes(evidence: Evidence) -> list[Json]:
    """Of each scenario with phases: what each phase measured, and what its messages said."""
    return [
        {
            "scenario": scenario.name,
            "title": scenario.title,
            "phases": [_phase(evidence, scenario, index) for index in range(len(scenario.phases))],
        }
        for scenario in evidence.run.scenarios
        if scenario.phases and not scenario.ladder and evidence.stored(scenario.name)
    ]


def _phase(evidence: Evidence, scenario: ScenarioRecord, index: int) -> Json:
    phase = (scenario.phases or ())[index]
    cell = phase_cell(evidence, scenario, index)
    trials = [one.trials[index] for one in passes(evidence, scenario.name) if index in one.trials]
    fields = scenario.observe or ()
    counted = {
        name: Counter(seen.value for trial in trials for seen in said(trial, name))
        for name in fields
    }
    deeds = [deed for trial in trials[:1] for deed in trial.record.deeds or ()]
    start_ns = trials[0].record.flow_start_ns if trials else None
    return {
        "name": phase.name,
        "flow_type": phase.flow_type,
        "passes": len(trials),
        "figures": None if cell is None else _figures(cell, evidence.bootstrap),
        "said": [
            {"field": name, "value": value, "messages": count}
            for name, values in counted.items()
            for value, count in sorted(values.items())
        ],
        "deeds": [
            {
                "deed": deed.deed,
                "running": start_ns is not None and deed.at_ns > start_ns,
                "revisions": dict(deed.revisions),
            }
            for deed in deeds
        ],
    }


def _figures(cell: Cell, bootstrap: Bootstrap) -> Json:
    """Its latency, warm and cold, and how long it took to become warm."""
    return {
        "end_to_end": statistic(cell.samples(measures.end_to_end), bootstrap),
        "cold_end_to_end": statistic(cell.samples(measures.end_to_end, cold=True), bootstrap),
        "warm_up": statistic(warm_up(cell).total_ms, bootstrap),
    }
