"""How precisely a run's figures are known, and how many starts a wanted precision would take.

The precision of a figure is half the width of its 95 % interval over its value. Only intervals over
starts count: what one start tells of itself says nothing about the next one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reports import measures
from reports.cells import Cell
from reports.evidence import Evidence, gather
from reports.records import ClaimRecord
from reports.rundir import read_run
from reports.stats import MIN_STARTS, Bootstrap, Estimate, mean, quantiles
from reports.warmup import warm_up

WARM_UP_METRICS = {"warm_up_s"}
"""Claims with such a metric make the warm-up a wanted figure of their scenario."""

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Wanted:
    """One figure that a run was asked to know precisely, as it stands.

    ``starts`` is the number that its interval rests on, 0 without one; ``trials`` those that
    measured its cell, ``trial_s`` how long one of them takes.
    """

    scenario: str
    containers: int
    cell: str
    name: str
    value: float | None
    low: float | None
    high: float | None
    starts: int
    messages: int
    trials: int
    trial_s: float

    @property
    def half_width(self) -> float | None:
        """Half the interval's width over the value; None without an interval, or at zero."""
        if self.low is None or self.high is None or not self.value:
            return None
        return (self.high - self.low) / 2 / abs(self.value)

    def needed_trials(self, asked: float) -> int | None:
        """Trials at which the half width would be as ``asked``; None where nothing is known.

        It shrinks with the square root of the number of starts.
        """
        if self.half_width is None:
            return None
        # Rounded before: 10 % in binary would be a trial more than 10 %.
        return max(1, math.ceil(round(self.trials * (self.half_width / asked) ** 2, 6)))

    def document(self, asked: float | None) -> Json:
        """The figure as run.json and results.json have it (docs/formats.md)."""
        found: Json = {
            "name": self.name, "cell": self.cell, "unit": "ms", "value": self.value,
            "low": self.low, "high": self.high, "starts": self.starts, "messages": self.messages,
            "half_width": self.half_width, "reached": None, "needed_starts": None, "needed_s": None,
        }  # fmt: skip
        if asked is None:
            return found
        needed = self.needed_trials(asked)
        found["reached"] = self.half_width is not None and self.half_width <= asked
        if needed is not None:
            found["needed_starts"] = math.ceil(self.starts * needed / self.trials)
            found["needed_s"] = needed * self.trial_s
        return found


def look(run_dir: Path) -> tuple[Wanted, ...]:
    """The wanted figures of a run that may still be under way. Raises what reading it raises."""
    return wanted(gather(read_run(run_dir)))


def wanted(evidence: Evidence) -> tuple[Wanted, ...]:
    """The figures of every cell that a precision is asked of.

    Realtime: mean hop, end-to-end mean and p50, and the whole warm-up where a claim about it names
    the scenario. Ordinary: mean execution, which has the warm-up in it.
    """
    return tuple(
        figure
        for cells in evidence.cells.values()
        for cell in cells
        for figure in _of_cell(cell, evidence.run.claims, evidence.bootstrap)
    )


def section(evidence: Evidence) -> Json | None:
    """What results.json says of the precision that was asked for; None where none was."""
    asked = evidence.run.precision
    if asked is None:
        return None
    figures = wanted(evidence)
    return {
        "asked": asked.asked, "budget_s": asked.budget_s, "spent_s": asked.spent_s,
        "minimum_starts": asked.minimum_starts, "ended": asked.ended,
        "cells": [
            {
                "scenario": cell.scenario, "containers": cell.containers,
                "given_up": cell.given_up, "trials": cell.trials,
                "valid": sum(
                    len(trial.record.steps) == cell.containers
                    for trial in evidence.valid(cell.scenario)
                ),
                "figures": [
                    figure.document(asked.asked)
                    for figure in figures
                    if (figure.scenario, figure.containers) == (cell.scenario, cell.containers)
                ],
            }
            for cell in asked.cells
        ],
    }  # fmt: skip


def unmet(section: Mapping[str, Any]) -> bool:
    """Whether a precision was asked for that some figure does not have, or that has no figures."""
    return section["asked"] is not None and any(
        not cell["figures"] or not all(figure["reached"] for figure in cell["figures"])
        for cell in section["cells"]
    )


def _of_cell(cell: Cell, claims: Iterable[ClaimRecord], bootstrap: Bootstrap) -> list[Wanted]:
    whole = cell.samples(measures.end_to_end)
    if cell.ordinary:
        estimates = {"mean execution": mean(whole, bootstrap)}
    else:
        estimates = {
            "mean hop": mean(cell.samples(measures.hops), bootstrap),
            "end-to-end mean": mean(whole, bootstrap),
            "end-to-end p50": quantiles(whole, (0.5,), bootstrap)[0],
        }
        if any(c.metric in WARM_UP_METRICS and c.scenario == cell.scenario.name for c in claims):
            estimates["mean warm-up"] = mean(warm_up(cell).total_ms, bootstrap)
    return [_wanted(cell, name, estimate) for name, estimate in estimates.items()]


def _wanted(cell: Cell, name: str, found: Estimate | None) -> Wanted:
    spans_s = [
        (part.trial.record.end_ns - part.trial.record.start_ns) / 1e9
        for part in cell.parts
        if part.trial.record.end_ns is not None and part.trial.record.start_ns is not None
    ]
    starts = found.starts if found else 0
    sure = found is not None and starts >= MIN_STARTS
    return Wanted(
        scenario=cell.scenario.name, containers=cell.containers, cell=cell.name(), name=name,
        value=found.value if found else None,
        low=found.low if found and sure else None, high=found.high if found and sure else None,
        starts=starts, messages=found.count if found else 0,
        trials=len(cell.parts), trial_s=sum(spans_s) / max(len(spans_s), 1),
    )  # fmt: skip
