"""Reads the faults of a scenario: what is done to its containers while they are measured."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict
from typing import Any

from runtime.document import Table, meant
from runtime.quantities import DURATION_MS
from scenarios.model import Fault, Freeze, NetworkDelay

FREEZE, NETWORK_DELAY = "freeze", "network delay"


def read_faults(root: Table, steps: Collection[str]) -> tuple[Fault, ...]:
    """The elements of ``[[faults]]``; ``steps`` are the ids that one may name."""
    faults = []
    delayed: set[str] = set()
    for table in root.tables("faults"):
        fault = _fault(table)
        if fault.step and fault.step not in steps:
            hint = meant(fault.step, steps) or f"; the steps are {', '.join(steps)}"
            table.problem("step", f"there is no step {fault.step!r}{hint}")
        if isinstance(fault, NetworkDelay):
            if fault.step in delayed:
                table.problem("step", f"{fault.step!r} is delayed already; keep one of them")
            delayed.add(fault.step)
        faults.append(fault)
    return tuple(faults)


def fault_document(fault: Fault) -> dict[str, Any]:
    """A fault as ``run.json`` stores it."""
    kind = FREEZE if isinstance(fault, Freeze) else NETWORK_DELAY
    return {"kind": kind, **asdict(fault)}


def _fault(table: Table) -> Fault:
    kind = table.choice("kind", (FREEZE, NETWORK_DELAY))
    step = table.text("step")
    fault: Fault
    if kind == FREEZE:
        fault = Freeze(
            step,
            after_s=table.quantity("after", DURATION_MS, zero=True) / 1000,
            for_s=table.quantity("for", DURATION_MS) / 1000,
        )
    else:
        fault = NetworkDelay(step, table.quantity("delay", DURATION_MS, zero=True))
    table.finish()
    return fault
