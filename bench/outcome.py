"""What a trial came to: its spools read back, judged, and put together for storing.

Nothing here starts, sends or waits.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.accounting import account
from bench.generators import GENERATOR, Sending
from bench.observe import instance_record
from bench.observed import Outlet
from bench.pace import LoadFigures, Share, complaints, load_figures
from bench.resources import Sampler
from bench.stage import Stage
from runtime.clock import clock_id, now_ns
from runtime.errors import SpoolError
from runtime.model import Flow, Revision
from runtime.modes import Started
from runtime.spans import EMIT
from runtime.spool import DTYPE, Records, read_spool
from scenarios.model import Loop, Scenario

LOAD_INSTANCE = 0xFFFF
INSTANTS = (
    "flow_start_ns",
    "flow_consuming_ns",
    "load_start_ns",
    "load_end_ns",
    "flow_stop_ns",
    "flow_stopped_ns",
)
_WORSE = ("valid", "invalid", "failed")
_LOG_LINES = 200


@dataclass(frozen=True, slots=True)
class Plan:
    """What one trial is to do. ``messages`` is per message cell.

    ``repeats`` is the index of the trial that this one replaces. Of a scenario with phases,
    ``scenario`` is as the phase of that index runs it, in the pass of that number; of one with a
    search, it is as it is at ``probe_hz``, the rate that is tried.
    """

    index: int
    scenario: Scenario
    containers: int | None
    messages: int
    seed: int
    repeats: int | None = None
    phase: int | None = None
    passing: int = 0
    probe_hz: float | None = None

    @property
    def label(self) -> str:
        """What progress and problems call it."""
        if self.containers is not None:
            return f"{self.scenario.name} ({self.containers} containers)"
        if self.phase is not None:
            return f"{self.scenario.name} ({self.scenario.phases[self.phase].name})"
        if self.probe_hz is not None:
            return f"{self.scenario.name} ({self.probe_hz:g}/s)"
        return self.scenario.name


@dataclass(slots=True)
class Outcome:
    """What one trial gave: its document (docs/formats.md) and its tables."""

    document: dict[str, Any]
    spans: dict[str, np.ndarray[Any, Any]]
    resources: Mapping[str, np.ndarray[Any, Any]]
    logs: dict[str, str] = field(default_factory=dict)
    observed: Mapping[str, Any] = field(default_factory=dict)

    @property
    def only_late(self) -> bool:
        """Whether nothing but the load generator's own lateness makes the trial invalid."""
        reasons = self.document["reasons"]
        late = all(reason.startswith(GENERATOR) for reason in reasons)
        return self.document["status"] == "invalid" and late


@dataclass(slots=True)
class Observed:
    """A trial as it is seen while it runs. ``reasons`` say why its status is not ``valid``."""

    plan: Plan
    name: str
    flow: Flow
    revisions: tuple[Revision, ...]
    start_ns: int
    started: list[Started] = field(default_factory=list)
    instants: dict[str, int | None] = field(default_factory=lambda: dict.fromkeys(INSTANTS))
    status: str = "valid"
    reasons: list[str] = field(default_factory=list)
    alive_before: tuple[str, ...] = ()
    alive_after: tuple[str, ...] = ()
    connections: list[dict[str, Any]] = field(default_factory=list)
    errors: list[dict[str, Any]] = field(default_factory=list)
    faults: list[dict[str, Any]] = field(default_factory=list)
    floor: dict[str, Any] | None = None
    damaged_records: int = 0
    sending: Sending | None = None
    outlet: Outlet | None = None
    deeds: list[dict[str, Any]] = field(default_factory=list)

    def blame(self, reason: str, status: str = "invalid") -> None:
        """Note a reason, and that the trial is at least this bad."""
        self.reasons.append(reason)
        self.status = max(self.status, status, key=_WORSE.index)


def put_together(seen: Observed, stage: Stage, sampler: Sampler) -> Outcome:
    """Read every spool of a trial, judge it, and make what is stored of it."""
    tables: list[tuple[int, Records]] = []
    instances = []
    clocks: set[str] = set()
    for index, started in enumerate(seen.started):
        records = _read(seen, started.spool, clocks)
        tables.append((index, records))
        instances.append(instance_record(stage, seen.flow, started, records))
    shares = _shares(seen, clocks)
    tables += [(LOAD_INSTANCE, share.records) for share in shares]
    records = np.concatenate([np.empty(0, dtype=DTYPE), *(table for _, table in tables)])
    owners = [np.full(len(table), index, dtype=np.uint16) for index, table in tables]
    spans = {name: records[name] for name in DTYPE.names or () if name not in {"check", "sequence"}}
    spans["instance"] = np.concatenate([np.empty(0, np.uint16), *owners])
    document = _document(seen, stage, records, shares, instances, clocks)
    document["resource_problems"] = list(sampler.problems)
    observed = seen.outlet.table(records) if seen.outlet is not None else {}
    return Outcome(document, spans, sampler.table(), _logs(seen), observed)


def _read(seen: Observed, spool: Path, clocks: set[str]) -> Records:
    try:
        content = read_spool(spool)
    except SpoolError as error:
        seen.blame(str(error), "failed")
        return np.empty(0, dtype=DTYPE)
    clocks.add(content.clock_id)
    seen.damaged_records += content.damaged
    for problem in content.problems:
        seen.blame(f"{problem}; measure again")
    return content.records


def _shares(seen: Observed, clocks: set[str]) -> list[Share]:
    """What each generator has written, and said of itself."""
    shares = []
    for sent in seen.sending.sent if seen.sending is not None else ():
        if sent.spool.exists():
            answer = sent.answer
            cpu_s, ran_s = (answer.cpu_s, answer.ran_s) if answer else (None, None)
            shares.append(Share(sent.label, _read(seen, sent.spool, clocks), cpu_s, ran_s))
    return shares


def _document(
    seen: Observed,
    stage: Stage,
    records: Records,
    shares: Sequence[Share],
    instances: list[dict[str, Any]],
    clocks: set[str],
) -> dict[str, Any]:
    plan, scenario = seen.plan, seen.plan.scenario
    accounting = account(_accountable(seen, records), len(seen.flow.steps))
    load = load_figures(shares, target_rate_hz=scenario.load.rate_hz)
    _judge(seen, accounting.as_json(), load, clocks)
    ids = {started.instance.id: started.step for started in seen.started}
    return {
        "index": plan.index,
        "repeats": plan.repeats,
        "scenario": scenario.name,
        "flow_type": str(scenario.flow_type),
        "flow": seen.flow.name,
        "flow_digest": seen.flow.digest(),
        "cell": {"containers": len(seen.flow.steps)},
        "steps": [
            {
                "index": index,
                "id": step.id,
                "component": step.component,
                "function": step.function,
                "revision": revision.digest,
            }
            for index, (step, revision) in enumerate(
                zip(seen.flow.steps, seen.revisions, strict=True)
            )
        ],
        "message_cells": [asdict(cell) for cell in scenario.message_cells()],
        "phase": _phase(plan),
        "probe": None if plan.probe_hz is None else {"rate_hz": plan.probe_hz},
        "deeds": seen.deeds,
        "status": seen.status,
        "reasons": seen.reasons,
        "clock_id": clock_id(),
        "clock_ids_seen": sorted(clocks),
        "start_ns": seen.start_ns,
        "end_ns": now_ns(),
        **seen.instants,
        "instances": instances,
        "alive_before": list(seen.alive_before),
        "alive_after": list(seen.alive_after),
        "starts_seen": len(seen.started),
        "engine_events": [
            {
                "at_ns": event.at_ns,
                "action": event.action,
                "instance_id": event.instance_id,
                "step": ids[event.instance_id],
            }
            for event in stage.launcher.events()
            if event.instance_id in ids
        ],
        "connections": seen.connections,
        "accounting": accounting.as_json(),
        "errors": seen.errors,
        "faults": seen.faults,
        "damaged_records": seen.damaged_records,
        "load": load.as_json(),
        "floor": seen.floor,
    }


def _phase(plan: Plan) -> dict[str, Any] | None:
    if plan.phase is None:
        return None
    return {
        "index": plan.phase,
        "name": plan.scenario.phases[plan.phase].name,
        "round": plan.passing,
    }


def _accountable(seen: Observed, records: Records) -> Records:
    """The records of messages that had the time to be handled.

    What a step emits of its own accord goes on until the flow is stopped, and is under way then.
    """
    load_end_ns = seen.instants["load_end_ns"]
    if not seen.plan.scenario.unprompted or load_end_ns is None:
        return records
    late: NDArray[np.bool_] = (records["kind"] == EMIT) & (records["t1_ns"] > load_end_ns)
    return records[~late]


def _judge(seen: Observed, counts: Mapping[str, int], load: LoadFigures, clocks: set[str]) -> None:
    if counts["lost"]:
        seen.blame(f"{counts['lost']} of {counts['accepted']} accepted messages were lost")
    if counts["failed"]:
        first = f": {seen.errors[0]['error']}" if seen.errors else ""
        seen.blame(f"{counts['failed']} messages failed{first}")
    if counts["refused"]:
        seen.blame(f"the first queue refused {counts['refused']} messages")
    if counts["ended_early"] and not seen.plan.scenario.unprompted:
        seen.blame(
            f"{counts['ended_early']} executions ended before the last step: "
            "a component emitted nothing"
        )
    if seen.status == "valid" and not counts["handled"]:
        seen.blame("no message was handled")
    # A closed loop is late because the flow is slow: that is what it is there to show.
    if seen.plan.scenario.load.loop is Loop.OPEN:
        for reason in complaints(load):
            seen.blame(reason)
    if len(clocks | {clock_id()}) > 1:
        seen.blame(f"clocks differ between processes: {sorted(clocks | {clock_id()})}")


def _logs(seen: Observed) -> dict[str, str]:
    """The logs of a trial that went wrong, by the name of what wrote them."""
    if seen.status == "valid":
        return {}
    logs = {one.instance.name: one.instance.logs(last=_LOG_LINES) for one in seen.started}
    if seen.errors:
        logs["errors"] = json.dumps(seen.errors, indent=1)
    return {name: text for name, text in logs.items() if text}
