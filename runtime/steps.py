"""Reads the table of one step, as scenario files and the definitions of flows write it."""

from __future__ import annotations

from collections.abc import Callable

from runtime.components import SERVICE
from runtime.document import Table, meant
from runtime.expressions import expression_problem
from runtime.model import Component, Limits, Step
from runtime.quantities import SIZE

# The least is what a container engine takes (Docker 20.10 and later), the most what a kernel knows.
LEAST_MEMORY_BYTES = 6 * 1024**2
MOST_MEMORY_BYTES = 1024**4
LEAST_CPUS = 0.01
MOST_CPUS = 8192
MOST_PIDS = 2**22
_JSONATA = ("mapper", "router")
"""Components whose configuration is a JSONata ``expression``."""

Find = Callable[[Table, str], Component | None]
"""The component of a name; None, with the problem noted at the table, if it cannot be used."""


def read_step(table: Table, find: Find | None, kind: str) -> Step:
    """The keys that every step has; ``kind`` is what its function must be, trigger or action.

    The caller takes the keys that only it knows, then finishes the table. Without ``find``, neither
    components nor expressions are looked at: they were when the table was stored.
    """
    name = table.text("component")
    function = table.text("function")
    component = find(table, name) if name and find else None
    for key, what in (("component", "the component"), ("function", "one of its functions")):
        if find and table.values.get(key) == "":
            table.problem(key, f"is empty; name {what}")
    if component is not None and function:
        _check_function(table, component, function, kind)
    config = table.plain("config")
    if name in _JSONATA and find:
        _check_expression(table)
    return Step(
        id=table.name("id"),
        component=name,
        function=function,
        config=config,
        prefetch=table.whole("prefetch", 1, most=65_535),
        limits=_limits(table.table("limits")),
    )


def _check_function(table: Table, component: Component, function: str, kind: str) -> None:
    known = [f.name for f in component.functions.values() if f.kind == kind]
    if function in known:
        return
    what = f"component {component.name!r} has no {kind} {function!r}"
    if function in component.functions and component.functions[function].kind != SERVICE:
        place = "the first step is the trigger, the others are actions"
        what = f"{function!r} is no {kind} of component {component.name!r}; {place}"
    hint = meant(function, known) or f"; its {kind}s: {', '.join(known) or 'none'}"
    table.problem("function", what + hint)


def _check_expression(table: Table) -> None:
    if not table.has("config"):
        key = (*table.key, "config", "expression")
        table.document.problem(
            key, f"is missing; a {table.values['component']} needs a JSONata expression"
        )
        return
    if not isinstance(table.values["config"], dict):
        return  # Noted already, when the table was taken.
    config = Table(table.document, (*table.key, "config"), table.values["config"])
    expression = config.text("expression")
    what = expression_problem(expression) if expression else "it is empty"
    if what and isinstance(config.values.get("expression"), str):
        config.problem("expression", f"not JSONata: {what}")


def _limits(table: Table | None) -> Limits:
    if table is None:
        return Limits()
    before = len(table.document.problems)
    limits = Limits(
        memory_bytes=int(table.quantity("memory", SIZE, "256 MiB")),
        cpus=table.number("cpus", 1.0, positive=True),
        pids=table.whole("pids", 64, most=MOST_PIDS),
    )
    sound = len(table.document.problems) == before  # else some of these are stand-ins
    if sound and not LEAST_MEMORY_BYTES <= limits.memory_bytes <= MOST_MEMORY_BYTES:
        table.problem("memory", "must be from 6 MiB to 1024 GiB")
    if sound and not LEAST_CPUS <= limits.cpus <= MOST_CPUS:
        table.problem("cpus", f"must be from {LEAST_CPUS} to {MOST_CPUS}")
    table.finish()
    return limits
