"""What a trial looks at beside its messages: containers, their phases, and their connections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from bench.stage import Stage
from runtime.launch import Instance
from runtime.model import Flow
from runtime.modes import Started
from runtime.spans import FIRST, MARK, PROCESS, Mark
from runtime.spool import Records, marks

_PHASES = ("first_instruction", "imported", "connected", "consuming")


def instance_record(stage: Stage, flow: Flow, started: Started, records: Records) -> dict[str, Any]:
    """The ``instances`` entry of trial.json for one container or process."""
    instance, ended = started.instance, started.exit
    engine = {
        event.action: event.at_ns
        for event in reversed(stage.launcher.events())
        if event.instance_id == instance.id
    }
    phases = marks(records)
    first = records[(records["kind"] == PROCESS) & (records["flags"] & FIRST != 0)]
    stopping = records[(records["kind"] == MARK) & (records["message"] == Mark.STOPPING)]
    return {
        "step": started.step,
        "step_id": flow.steps[started.step].id,
        "execution": started.execution,
        "id": instance.id,
        "name": instance.name,
        "create_ns": instance.create_ns,
        "start_call_ns": instance.started_ns,
        "engine_create_ns": engine.get("create"),
        "engine_start_ns": engine.get("start"),
        "engine_die_ns": engine.get("die"),
        **{f"{phase}_ns": phases.get(phase) for phase in _PHASES},
        "first_message_ns": int(first["t2_ns"][0]) if len(first) else None,
        "exit_code": ended.code if ended else None,
        "oom_killed": ended.oom_killed if ended else None,
        "signal": ended.signal if ended else None,
        "memory_peak_bytes": int(np.max(stopping["t1_ns"])) if len(stopping) else None,
    }


def connections_of(
    stage: Stage,
    started: Sequence[Started],
    services: Mapping[str, tuple[Instance, str]],
) -> list[dict[str, Any]]:
    """Each step's TCP connections, from its own kernel tables, each with what it leads to.

    ``broker`` and ``service`` are those that the flow declares; ``self`` stays inside the step's
    own container (pika wakes its loop over such a pair of sockets); anything else is ``other``.
    """
    broker_port = urlsplit(stage.place.url_inside).port
    declared: dict[tuple[str, int], str] = {}
    if stage.place.instance is not None:
        for address in stage.place.instance.addresses():
            declared[(address, broker_port or 0)] = "broker"
    else:
        declared[(urlsplit(stage.place.url_inside).hostname or "", broker_port or 0)] = "broker"
    for instance, place in services.values():
        for address in instance.addresses():
            declared[(address, int(place.rpartition(":")[2]))] = "service"
    return [
        {
            "step": one.step,
            "host": host,
            "port": port,
            "kind": "self" if _inside(stage, host) else declared.get((host, port), "other"),
        }
        for one in started
        for host, port in one.instance.connections()
    ]


def _inside(stage: Stage, host: str) -> bool:
    # A container's loopback is its own; processes share theirs.
    return stage.launcher.isolates and ip_address(host).is_loopback
