"""From which arrival rate on a realtime flow costs less than an ordinary one, for each resource.

An ordinary message costs the same whatever the rate. A realtime flow has an idle cost per second,
shared by the messages that arrive, and some work per message. They cost the same at the rate
idle / (ordinary - work): below it the ordinary flow is the cheaper one, above it the realtime one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from reports import resources
from reports.cell_figures import single
from reports.cells import Cell
from reports.evidence import Evidence
from reports.stats import Bootstrap, Estimate, Samples, mean, ratio

Json = dict[str, Any]

PER_MIN = "/min"


@dataclass(frozen=True, slots=True)
class Balance:
    """One resource: an ordinary message, a realtime flow's idle second and its message's work.

    ``per_minute`` is the break-even rate; None where there is none: ``always`` where an ordinary
    message costs less than the work of a realtime one alone, else where a figure is missing.
    """

    kind: str
    ordinary: Estimate | None
    idle: Estimate | None
    work: Estimate | None
    per_minute: Estimate | None
    always: bool


def balances(ordinary: Cell, realtime: Cell, bootstrap: Bootstrap) -> list[Balance]:
    """The balance of each resource; without a watched idle time there is none of the CPU."""
    ours = resources.per_message(ordinary) or {}
    idle = resources.idle_per_second(realtime)
    _, work = resources.per_message_at(realtime, 1.0)
    return [_balance(kind, ours.get(kind), idle[kind], work[kind], bootstrap)
            for kind in resources.COSTS]  # fmt: skip


def break_even(evidence: Evidence, names: tuple[str, str]) -> list[Json]:
    """A row a resource, as ``results.json`` has it; empty without a valid trial of both."""
    if any(not evidence.cells.get(name) for name in names):
        return []
    ordinary, realtime = (evidence.cells[name][0] for name in names)
    return [
        {
            "resource": one.kind,
            "ordinary": single(one.ordinary, resources.UNITS[one.kind]),
            "idle_per_second": single(one.idle, f"{resources.UNITS[one.kind]}/s"),
            "work": single(one.work, resources.UNITS[one.kind]),
            "per_minute": single(one.per_minute, PER_MIN),
            "always": one.always,
        }
        for one in balances(ordinary, realtime, evidence.bootstrap)
    ]


def _balance(
    kind: str, ours: Samples | None, idle: Samples, work: Samples, bootstrap: Bootstrap
) -> Balance:
    if ours is None or not ours.count or not idle.count:
        return Balance(kind, None, None, None, None, always=False)
    fixed = float(work.values.mean()) if work.count else 0.0
    beyond = replace(ours, values=ours.values - fixed)
    shown = (mean(ours, bootstrap), mean(idle, bootstrap), mean(work, bootstrap))
    if beyond.values.mean() <= 0:
        return Balance(kind, *shown, None, always=True)
    if idle.values.mean() <= 0:
        return Balance(kind, *shown, None, always=False)
    a_minute = replace(idle, values=60 * idle.values)
    return Balance(kind, *shown, ratio(a_minute, beyond, bootstrap), always=False)
