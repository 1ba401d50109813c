"""Triggers that listen: in how many copies each event came, and which steps leak.

The detector knows nothing of the components: a step that emits more and more per call is named,
whatever it is (``reports.activity``).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from reports.changes import said
from reports.drift import drifts
from reports.evidence import Evidence
from reports.trials import Trial

Json = dict[str, Any]
Ints = npt.NDArray[np.int64]

POINTS = 60
"""Events that a picture shows, at most."""


@dataclass(frozen=True, slots=True)
class Events:
    """The events of a trial in the order in which they came first.

    ``copies[i]`` is how often event i was handled, ``calls[i]`` how often the trigger had been
    called by then.
    """

    copies: Ints
    calls: Ints


def events_of(trial: Trial, field: str) -> Events | None:
    """The events that the messages of a trial carry; None where none was observed."""
    seen = [one for one in said(trial, field) if one.at_ns and one.value]
    if not seen or trial.deliveries is None:
        return None
    copies = Counter(one.value for one in seen)
    first: dict[str, int] = {}
    for one in seen:
        first.setdefault(one.value, one.at_ns)
    calls = np.searchsorted(trial.deliveries.called_ns, list(first.values()))
    return Events(
        np.array([copies[value] for value in first], dtype=np.int64), calls.astype(np.int64)
    )


def leaks(evidence: Evidence) -> list[Json]:
    """Every step of every scenario whose emits per call were watched, and whether they grow.

    A step leaks in a scenario where it does in every trial that tells.
    """
    rows = []
    for scenario in evidence.run.scenarios:
        found: dict[str, list[tuple[bool | None, float]]] = {}
        for trial in evidence.valid(scenario.name):
            for step, activity in zip(trial.record.steps, trial.activity, strict=False):
                if activity is not None:
                    found.setdefault(step.id, []).append((activity.leaks, activity.growth))
        for step_id, told in found.items():
            known = [growth for leaking, growth in told if leaking is not None]
            if known:
                rows.append({
                    "scenario": scenario.name, "step": step_id, "trials": len(known),
                    "growth": float(np.median(known)),
                    "leaks": all(leaking for leaking, _ in told if leaking is not None),
                })  # fmt: skip
    return rows


def listeners(evidence: Evidence) -> list[Json]:
    """Of each scenario whose steps emit of their own accord: copies, calls, and what drifts."""
    rows = []
    for scenario in evidence.run.scenarios:
        fields = scenario.observe or ()
        if not scenario.unprompted or not fields:
            continue
        for trial in evidence.valid(scenario.name)[:1]:
            events = events_of(trial, fields[0])
            if events is not None:
                rows.append(_row(scenario.name, scenario.title, trial, events))
    return rows


def _row(name: str, title: str, trial: Trial, events: Events) -> Json:
    shown = np.unique(np.linspace(0, events.copies.size - 1, POINTS).astype(int))
    assert trial.deliveries is not None
    return {
        "scenario": name,
        "title": title,
        "trigger": trial.record.steps[0].id,
        "calls": int(trial.deliveries.called_ns.size),
        "events": int(events.copies.size),
        "messages": int(events.copies.sum()),
        "most_copies": int(events.copies.max()),
        "repeated": int((events.copies > 1).sum()),
        "points": [[int(events.calls[i]), int(events.copies[i])] for i in shown],
        "drifts": drifts(trial),
    }
