"""Reads the faults of a scenario: what is done to its containers while they are measured."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from runtime.document import Table, meant
from runtime.quantities import DURATION_MS
from scenarios.model import Fault, Freeze, NetworkDelay

if TYPE_CHECKING:
    from scenarios.document import Document

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


def check_network_delays(document: Document, faults: Sequence[Fault], *, varied: bool) -> None:
    """Note what does not fit together: a delay per message needs one step to be delayed by it."""
    asking = [
        index
        for index, fault in enumerate(faults)
        if isinstance(fault, NetworkDelay) and fault.delay_ms is None
    ]
    if varied and not asking:
        what = 'says nothing without a fault of kind "network delay" that has no delay of its own'
        document.problem(("vary", "network_delay"), f"{what}; add it")
    for index in asking if not varied else asking[1:]:
        what = "there is no [vary] network_delay" if not varied else "only one step can do without"
        document.problem(("faults", index, "delay"), f"is required: {what}")


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
        # Without one, it is as each message asks: check_network_delays sees whether they do.
        given = table.has("delay")
        fault = NetworkDelay(
            step, table.quantity("delay", DURATION_MS, zero=True) if given else None
        )
    table.finish()
    return fault
