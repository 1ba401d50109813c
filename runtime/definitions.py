"""A flow's definition as a document: what JSON and TOML hold, and what the store keeps.

Its ``steps`` have the shape of a scenario file's; ``trigger``, ``variables`` and
``shutdown_timeout`` stand beside them. Quantities are strings with their unit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

from runtime.cron import cron_problem
from runtime.document import DEEPEST, KeyPath, Table, distinct, dotted, meant, shown, walk
from runtime.errors import DefinitionError
from runtime.flows import Definition, Trigger, TriggerKind
from runtime.model import Component, Step
from runtime.quantities import DURATION_S, RATE, SIZE
from runtime.steps import Find, read_step

LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
MOST_REPLICAS = 5
MOST_QUEUE_LENGTH = 10_000_000
MOST_QUEUE_BYTES = 1024**4
LEAST_INTERVAL_S, MOST_INTERVAL_S = 0.001, 31 * 86_400.0
MOST_QUOTA_PER_S = 100_000.0
MOST_SHUTDOWN_TIMEOUT_S = 1800.0


def definition_document(definition: Definition) -> dict[str, Any]:
    """What :func:`read_definition` reads the same definition from; every value is spelled out."""
    return {
        "steps": [_step_document(step) for step in definition.steps],
        "trigger": _trigger_document(definition.trigger),
        "variables": dict(definition.variables),
        "shutdown_timeout": f"{_plain(definition.shutdown_timeout_s)} s",
    }


def read_definition(
    document: object, components: Mapping[str, Component], *, where: str = ""
) -> Definition:
    """Read and check a definition; ``components`` are those that its steps may name.

    Steps stand in the order of the chain, or say what they come ``after``. Raises DefinitionError
    with every problem found, each as ``key: what``; ``where`` is the file's name, or the flow's.
    """

    def find(table: Table, name: str) -> Component | None:
        if name in components:
            return components[name]
        known = sorted(components)
        hint = meant(name, known) or f"; deploy it first, or take {' or '.join(known) or 'none'}"
        if not known:
            hint = "; none has been deployed"
        table.problem("component", f"there is no component {shown(name)}{hint}")
        return None

    return _read(document, find, where)


def stored_definition(document: object) -> Definition:
    """Read a document that :func:`definition_document` made, without looking at components.

    Raises DefinitionError where it is none.
    """
    return _read(document, None, "")


class _Found:
    """The problems found in a document so far."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def problem(self, key: KeyPath, what: str) -> None:
        """Note a problem at a key."""
        self.problems.append(f"{dotted(key)}: {what}" if key else what)


def _read(document: object, find: Find | None, where: str) -> Definition:
    found = _Found()
    if not isinstance(document, dict):
        what = f"a definition must be an object with steps, not {shown(document)}"
        raise DefinitionError((what,), where=where)
    _check_values(found, document)
    # What cannot be stored is not looked into any further.
    definition = None if found.problems else _definition(Table(found, (), document), find)
    if definition is None or found.problems:
        raise DefinitionError(tuple(found.problems), where=where)
    return definition


def _check_values(found: _Found, document: Mapping[str, Any]) -> None:
    try:
        values = list(walk((), document))
    except RecursionError:
        values = []
        found.problem((), "nested too deeply")
    for key, value in values:
        if len(key) > DEEPEST:
            found.problem(key[:1], "is nested too deeply")
        elif isinstance(value, int) and not -(2**63) <= value < 2**63:
            found.problem(key, "an integer must fit into 64 bits")
        elif not all(_encodable(part) for part in (*key, value)):
            found.problem(key, "holds half a character (a lone surrogate)")


def _encodable(value: object) -> bool:
    return not isinstance(value, str) or not any("\ud800" <= one <= "\udfff" for one in value)


def _definition(root: Table, find: Find | None) -> Definition:
    tables = distinct(root.tables("steps", required=True))
    chained = any(table.has("after") for table in tables)
    steps = [
        _step(table, find, is_first=not table.has("after") if chained else index == 0)
        for index, table in enumerate(tables)
    ]
    if chained:
        steps = _in_order(tables, steps)
    trigger = root.table("trigger")
    definition = Definition(
        steps=tuple(steps),
        trigger=Trigger() if trigger is None else _trigger(trigger, check=find is not None),
        variables=root.strings("variables"),
        shutdown_timeout_s=root.quantity("shutdown_timeout", DURATION_S, "0 s", zero=True),
    )
    if definition.shutdown_timeout_s > MOST_SHUTDOWN_TIMEOUT_S:
        root.problem("shutdown_timeout", "is too long; it must be at most 30 min")
    root.finish()
    return definition


def _step(table: Table, find: Find | None, *, is_first: bool) -> Step:
    step = replace(
        read_step(table, find, "trigger" if is_first else "action"),
        # What was accepted outlives its broker, unless somebody says that it need not.
        persistent=table.flag("persistent", default=True),
        replicas=table.whole("replicas", 1, most=MOST_REPLICAS),
        passthrough=table.flag("passthrough", default=False),
        log_level=table.choice("log_level", LOG_LEVELS, "WARNING"),
        follow_newest=table.flag("follow_newest", default=False),
        max_length=table.whole("max_length", 10_000, most=MOST_QUEUE_LENGTH),
        max_bytes=int(table.quantity("max_bytes", SIZE, "256 MiB")),
    )
    if step.max_bytes > MOST_QUEUE_BYTES:
        table.problem("max_bytes", "is too much; it must be at most 1024 GiB")
    table.text("after", "")
    table.finish()
    return step


def _in_order(tables: Sequence[Table], steps: Sequence[Step]) -> list[Step]:
    """The steps as a chain, where they say what each comes after; notes what makes none."""
    by_id = {step.id: step for step in steps}
    stated = {
        step.id: table.values["after"]
        for table, step in zip(tables, steps, strict=True)
        if table.has("after")
    }
    before = {step: place for step, place in stated.items() if isinstance(place, str)}
    if len(by_id) < len(steps) or len(before) < len(stated):
        return list(steps)  # Noted already: two steps have one id, or a place is no string.
    first = [step.id for step in steps if step.id not in before]
    followed: dict[str, str] = {}
    sound = True
    for table, step in zip(tables, steps, strict=True):
        place = before.get(step.id)
        if place is None:
            what = f"is missing; {first[0]!r} is the first step, all others come after one"
            wrong = step.id != first[0]
        elif place not in by_id:
            hint = meant(place, by_id) or f"; the steps are {', '.join(by_id)}"
            what, wrong = f"there is no step {shown(place)}{hint}", True
        else:
            other = followed.setdefault(place, step.id)
            what = f"{other!r} comes after {place!r} already; a flow is one chain"
            wrong = other != step.id
        if wrong:
            table.problem("after", what)
            sound = False
    for cycle in _cycles(before):
        index = next(i for i, step in enumerate(steps) if step.id == cycle[-1])
        tables[index].problem("after", f"is a cycle: {' -> '.join(cycle)}")
        sound = False
    if not sound:
        return list(steps)
    ordered = [by_id[first[0]]]
    while ordered[-1].id in followed:
        ordered.append(by_id[followed[ordered[-1].id]])
    return ordered


def _cycles(before: Mapping[str, str]) -> list[tuple[str, ...]]:
    """Each cycle once, in the order in which messages would go, beginning and ending alike."""
    cycles = []
    done: set[str] = set()
    for start in before:
        path: list[str] = []
        current: str | None = start
        while current is not None and current not in done:
            done.add(current)
            path.append(current)
            current = before.get(current)
        if current in path:
            loop = path[path.index(current) :]
            cycles.append((loop[0], *reversed(loop)))
    return cycles


def _trigger(table: Table, *, check: bool) -> Trigger:
    kind = TriggerKind(table.choice("kind", TriggerKind))
    trigger = Trigger(kind)
    if kind is TriggerKind.CRON:
        trigger = replace(trigger, schedule=table.text("schedule"))
        schedule = table.values.get("schedule")
        if check and isinstance(schedule, str) and (what := cron_problem(schedule)):
            table.problem("schedule", f"{shown(schedule)} is no cron line: {what}")
    elif kind is TriggerKind.INTERVAL:
        every_s = table.quantity("every", DURATION_S)
        trigger = replace(trigger, every_s=every_s)
        if not LEAST_INTERVAL_S <= every_s <= MOST_INTERVAL_S:
            table.problem("every", "must be from 1 ms to 744 h")
    elif kind is TriggerKind.WEBHOOK:
        quota_per_s = table.quantity("quota", RATE, "1/s")
        if table.has("quota"):
            trigger = replace(trigger, quota_per_s=quota_per_s)
        if quota_per_s > MOST_QUOTA_PER_S:
            table.problem("quota", f"is too high; it must be at most {MOST_QUOTA_PER_S:.0f}/s")
    table.finish()
    return trigger


def _step_document(step: Step) -> dict[str, Any]:
    return {
        "id": step.id,
        "component": step.component,
        "function": step.function,
        "config": dict(step.config),
        "prefetch": step.prefetch,
        "limits": {
            "memory": f"{step.limits.memory_bytes} B",
            "cpus": step.limits.cpus,
            "pids": step.limits.pids,
        },
        "persistent": step.persistent,
        "replicas": step.replicas,
        "passthrough": step.passthrough,
        "log_level": step.log_level,
        "follow_newest": step.follow_newest,
        "max_length": step.max_length,
        "max_bytes": f"{step.max_bytes} B",
    }


def _trigger_document(trigger: Trigger) -> dict[str, str]:
    document = {"kind": trigger.kind.value}
    if trigger.schedule is not None:
        document["schedule"] = trigger.schedule
    if trigger.every_s is not None:
        document["every"] = f"{_plain(trigger.every_s)} s"
    if trigger.quota_per_s is not None:
        document["quota"] = f"{_plain(trigger.quota_per_s)}/s"
    return document


def _plain(number: float) -> str:
    """The shortest decimal that reads as the same float, without an exponent."""
    return format(Decimal(repr(float(number))), "f")
