"""How the synthetic flows behave: spans, instances, events and resource samples of one trial."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.spans import EMIT, FIRST, LOAD_STEP, MARK, PROCESS, SEND
from tests.fakes.rundir import MS, NO_INSTANCE, Int, Json, Plan, S, Trial, samples, span_table

PHASES_MS = {"engine_create": 12.0, "engine_start": 230.0, "first_instruction": 22.0,
             "imported": 75.0, "connected": 9.0, "consuming": 3.0}  # fmt: skip
MARKS = {"first_instruction": 1, "imported": 2, "connected": 3, "consuming": 4}
MEMORY_BYTES = 27_000_000
SAMPLE_NS = 100 * MS


def realtime(plan: Plan, meta: Json, rng: np.random.Generator, *, containers: bool) -> Trial:
    """A realtime trial: every step is started in parallel and kept; messages pass through."""
    steps, start_ns = meta["steps"], meta["start_ns"]
    flow_start_ns = start_ns + 50 * MS
    instances = [
        _instance(step, None, flow_start_ns + i * MS, rng, containers, meta["index"])
        for i, step in enumerate(steps)
    ]
    consuming_ns = max(i["consuming_ns"] for i in instances)
    load_start_ns = consuming_ns + 400 * MS
    cells = len(meta["message_cells"])
    n = plan.messages * cells
    cell = rng.permutation(np.arange(n) % cells)
    delay_ms = np.array([c["api_delay_ms"] or 0.0 for c in meta["message_cells"]])[cell]
    size = np.array([c["payload_bytes"] for c in meta["message_cells"]], dtype=float)[cell]
    gaps_ms = rng.exponential(1000 / plan.rate_hz, n) + delay_ms
    intended = load_start_ns + np.cumsum(np.rint(gaps_ms * MS).astype(np.int64))
    scale = np.exp(rng.normal(0, plan.start_spread)) * (1 + 8 * np.exp(-np.arange(n) / 3.0))
    blocks, last = _messages(plan, meta, rng, (intended, scale, size, delay_ms, cell))
    for index, instance in enumerate(instances):
        instance["first_message_ns"] = int(blocks[1 + index]["t2_ns"][0])
    load_end_ns = int(last.max()) + MS
    stop_ns = load_end_ns + 300 * MS
    _end(instances, [stop_ns + 60 * MS] * len(instances))
    blocks += _marks(instances)
    ids = [i["id"] for i in instances]
    meta |= _outcome(n, instances, meta)
    meta |= {
        "end_ns": stop_ns + 200 * MS, "flow_start_ns": flow_start_ns,
        "flow_consuming_ns": consuming_ns, "load_start_ns": load_start_ns,
        "load_end_ns": load_end_ns, "flow_stop_ns": stop_ns, "flow_stopped_ns": stop_ns + 80 * MS,
        "alive_before": ids, "alive_after": ids,
        "load": _load(plan.rate_hz),
    }  # fmt: skip
    return Trial(meta, span_table(blocks), _resources(instances, rng, busy=0.02))


def ordinary(plan: Plan, meta: Json, rng: np.random.Generator, *, containers: bool) -> Trial:
    """An ordinary trial: each execution starts a container, uses it, stops it, starts the next."""
    steps, at_ns = meta["steps"], meta["start_ns"] + 50 * MS
    flow_start_ns = at_ns
    instances: list[Json] = []
    blocks: list[dict[str, Any]] = []
    load_start_ns = at_ns + 100 * MS
    period_ns = round(S / plan.rate_hz)
    for execution in range(1, plan.messages + 1):
        at_ns = max(at_ns, load_start_ns + (execution - 1) * period_ns)
        message = int(rng.integers(1, 1 << 63))
        blocks.append(_row(SEND, LOAD_STEP, execution, message, 0, NO_INSTANCE,
                           (at_ns, at_ns + 40_000, at_ns + 90_000, at_ns + 400_000)))  # fmt: skip
        for step in steps:
            instance = _instance(step, execution, at_ns, rng, containers, meta["index"])
            delivered = instance["consuming_ns"] + 300_000
            entry = delivered + 45_000
            end = entry + round(plan.process_ms * MS * rng.lognormal(0, 0.1))
            instance["first_message_ns"] = end
            blocks.append(_row(PROCESS, step["index"], execution, message, 0, len(instances),
                               (delivered, entry, end, end + 60_000), flags=FIRST))  # fmt: skip
            if step is not steps[-1]:
                parent, message = message, int(rng.integers(1, 1 << 63))
                blocks.append(_row(EMIT, step["index"], execution, message, parent, len(instances),
                                   (0, end - 10_000, end + 70_000, end + 420_000)))  # fmt: skip
            at_ns = end + 5 * MS
            _end([instance], [at_ns + 55 * MS])
            at_ns += 60 * MS
            instances.append(instance)
    blocks += _marks(instances)
    meta |= _outcome(plan.messages, instances, meta)
    meta |= {
        "end_ns": at_ns + 200 * MS, "flow_start_ns": flow_start_ns, "flow_consuming_ns": None,
        "load_start_ns": load_start_ns, "load_end_ns": at_ns, "flow_stop_ns": at_ns + MS,
        "flow_stopped_ns": at_ns + 20 * MS, "alive_before": [], "alive_after": [],
        "load": _load(plan.rate_hz),
    }  # fmt: skip
    return Trial(meta, span_table(blocks), _resources(instances, rng, busy=0.02))


def _messages(
    plan: Plan,
    meta: Json,
    rng: np.random.Generator,
    load: tuple[Int, npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64],
                npt.NDArray[np.intp]],
) -> tuple[list[dict[str, Any]], Int]:  # fmt: skip
    """SEND, PROCESS and EMIT blocks of a realtime trial, and when each execution ended."""
    intended, scale, size, delay_ms, cell = load
    n, steps = len(intended), meta["steps"]

    def took(mean_ms: float | npt.NDArray[np.float64], sigma: float = 0.25) -> Int:
        values = mean_ms * rng.lognormal(0, sigma, n) * MS
        return np.rint(values).astype(np.int64)

    trace = np.arange(1, n + 1)
    message = rng.integers(1, 1 << 62, n)
    first = np.where(trace == 1, FIRST, 0)
    wire_ms = plan.hop_ms * scale + size / 150e6 * 1000
    sent = intended + took(0.05)
    handed = sent + took(0.06)
    blocks: list[dict[str, Any]] = [
        {"kind": SEND, "step": LOAD_STEP, "aux": cell, "flags": first, "trace": trace,
         "message": message, "t0_ns": intended, "t1_ns": sent, "t2_ns": handed,
         "t3_ns": handed + took(0.35), "instance": NO_INSTANCE}
    ]  # fmt: skip
    emits: list[dict[str, Any]] = []
    end = handed
    for step in steps:
        index = step["index"]
        delivered = handed + took(0.78 * wire_ms)
        entry = delivered + took(0.09 * wire_ms)
        busy_ms = plan.process_ms + size / 400e6 * 1000
        end = entry + took(busy_ms, 0.1)
        if step["component"] == "call":
            end = end + np.rint(delay_ms * MS).astype(np.int64) + took(1.2)
        blocks.append(
            {"kind": PROCESS, "step": index, "aux": int(step is not steps[-1]), "flags": first,
             "trace": trace, "message": message, "t0_ns": delivered, "t1_ns": entry, "t2_ns": end,
             "t3_ns": end + took(0.05), "instance": index}
        )  # fmt: skip
        if step is steps[-1]:
            break
        emitted = end - 8_000
        handed = emitted + took(0.13 * wire_ms)
        parent, message = message, rng.integers(1, 1 << 62, n)
        emits.append(
            {"kind": EMIT, "step": index, "trace": trace, "message": message, "parent": parent,
             "t1_ns": emitted, "t2_ns": handed, "t3_ns": handed + took(0.35), "instance": index}
        )  # fmt: skip
    return blocks + emits, end


def _instance(
    step: Json, execution: int | None, at_ns: int, rng: np.random.Generator, containers: bool,
    trial: int,
) -> Json:  # fmt: skip
    """A step's container (or process) that was asked for at ``at_ns``."""
    number = int(rng.integers(1 << 60))
    name = f"hop-{trial}-{step['id']}" + (f"-{execution}" if execution is not None else "")
    instance: Json = {
        "step": step["index"], "step_id": step["id"], "execution": execution,
        "id": hashlib.sha256(str(number).encode()).hexdigest() if containers else str(number),
        "name": name, "create_ns": at_ns, "engine_die_ns": None, "first_message_ns": None,
        "exit_code": 0, "oom_killed": False,
        "signal": "SIGTERM", "memory_peak_bytes": MEMORY_BYTES + int(rng.integers(2_000_000)),
    }  # fmt: skip
    for phase, mean_ms in PHASES_MS.items():
        if containers or not phase.startswith("engine"):
            at_ns += round(mean_ms * MS * rng.lognormal(0, 0.08))
        instance[f"{phase}_ns"] = at_ns
    instance["start_call_ns"] = instance["engine_start_ns"] + 1_500_000
    return instance


def _end(instances: list[Json], die_ns: list[int]) -> None:
    """Let the instances end at these instants."""
    for instance, at_ns in zip(instances, die_ns, strict=True):
        instance["engine_die_ns"] = at_ns


def _marks(instances: list[Json]) -> list[dict[str, Any]]:
    """The MARK records of every instance."""
    return [
        {"kind": MARK, "step": i["step"], "message": mark, "t0_ns": i[f"{phase}_ns"],
         "instance": index}
        for index, i in enumerate(instances)
        for phase, mark in MARKS.items()
    ]  # fmt: skip


def _row(
    kind: int, step: int, trace: int, message: int, parent: int, instance: int,
    instants: tuple[int, int, int, int], flags: int = 0,
) -> dict[str, Any]:  # fmt: skip
    """A block of one record."""
    t0_ns, t1_ns, t2_ns, t3_ns = instants
    return {"kind": kind, "step": step, "trace": trace, "message": message, "parent": parent,
            "flags": flags, "t0_ns": t0_ns, "t1_ns": t1_ns, "t2_ns": t2_ns, "t3_ns": t3_ns,
            "instance": instance}  # fmt: skip


def _outcome(n: int, instances: list[Json], meta: Json) -> Json:
    """What follows from the instances: events, connections, accounting."""
    events = [
        {"at_ns": i[f"engine_{action}_ns"], "action": action, "instance_id": i["id"],
         "step": i["step"]}
        for i in instances for action in ("create", "start", "die")
        if i[f"engine_{action}_ns"] is not None
    ]  # fmt: skip
    connections = [{"step": s["index"], "host": "172.18.0.2", "port": 5672, "kind": "broker"}
                   for s in meta["steps"]]  # fmt: skip
    connections += [{"step": s["index"], "host": "172.18.0.9", "port": 8080, "kind": "service"}
                    for s in meta["steps"] if s["component"] == "call"]  # fmt: skip
    return {
        "instances": instances, "starts_seen": len(instances),
        "engine_events": sorted(events, key=lambda e: int(e["at_ns"])), "connections": connections,
        "accounting": {"sent": n, "accepted": n, "refused": 0, "handled": n, "failed": 0,
                       "lost": 0, "duplicated": 0},
    }  # fmt: skip


def _load(rate_hz: float) -> Json:
    return {"target_rate_hz": rate_hz, "achieved_rate_hz": rate_hz * 0.998, "lag_p50_ms": 0.08,
            "lag_p99_ms": 0.4, "lag_max_ms": 1.1, "cpu_s": 0.4}  # fmt: skip


def _resources(
    instances: list[Json], rng: np.random.Generator, *, busy: float
) -> dict[str, npt.NDArray[Any]]:
    """Samples of every instance: memory fills while it starts, CPU is start-up work, then load."""
    records: list[tuple[int, int, int, int]] = []
    for index, instance in enumerate(instances):
        born = instance["engine_start_ns"] or instance["start_call_ns"]
        died = instance["engine_die_ns"]
        at = np.append(np.arange(born + 5 * MS, died - MS, SAMPLE_NS), died - MS)
        age = (at - born).astype(float)
        started_ns = 90.0 * MS * (1 - np.exp(-age / (80 * MS)))
        cpu = (started_ns + busy * age).astype(np.int64)
        memory = (MEMORY_BYTES * (1 - 0.8 * np.exp(-age / (60 * MS)))).astype(np.int64)
        memory += rng.integers(0, 100_000, len(at))
        records += zip([index] * len(at), at.tolist(), cpu.tolist(), memory.tolist(), strict=True)
    return samples(records)
