"""Synthetic run directories of any size, in the format of docs/formats.md.

``quick_run`` is what a quick run on Docker and RabbitMQ looks like, ``large_run`` one scenario of
as many spans as wanted, ``write_run`` takes any list of plans. ``amend`` changes a file of a run
directory afterwards, so that a test can plant what it wants to be found.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from runtime.spans import EMIT, FIRST, LOAD_STEP, MARK, PROCESS, SEND
from tests.fakes.claims import CLAIMS

Json = dict[str, Any]
Int = npt.NDArray[np.int64]

MS = 1_000_000
S = 1_000_000_000
CLOCK = "00000000-0000-4000-8000-000000000000 time:[4026531834]"
NO_INSTANCE = 65535
SPAN_TYPES: dict[str, str] = {
    "kind": "uint8", "outcome": "uint8", "step": "uint16", "aux": "uint16", "flags": "uint16",
    "trace": "uint64", "message": "uint64", "parent": "uint64",
    "t0_ns": "int64", "t1_ns": "int64", "t2_ns": "int64", "t3_ns": "int64",
    "instance": "uint16",
}  # fmt: skip
RESOURCE_TYPES: dict[str, str] = {
    "instance": "int32", "at_ns": "int64", "cpu_ns": "int64", "memory_bytes": "int64",
    "throttled_ns": "int64",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Plan:
    """One scenario of a synthetic run, and how fast its parts are."""

    name: str
    title: str
    flow_type: str = "realtime"
    steps: tuple[str, ...] = ("source", "mapper", "action")
    rate_hz: float = 50.0
    messages: int = 200
    payloads: tuple[int, ...] = (1024,)
    delays: tuple[float | None, ...] = (None,)
    network: tuple[float | None, ...] = (None,)
    containers: tuple[int | None, ...] = (None,)
    starts: int = 5
    floor_per_start: bool = False
    hop_ms: float = 0.65
    process_ms: float = 0.15
    start_spread: float = 0.04


@dataclass(slots=True)
class Trial:
    """What is stored for one trial: ``trial.json`` and the columns of its two tables."""

    meta: Json
    spans: dict[str, npt.NDArray[Any]]
    resources: dict[str, npt.NDArray[Any]]


QUICK = (
    Plan("realtime", "Realtime flow of three containers", floor_per_start=True),
    Plan("ordinary", "The same flow as an ordinary one", "ordinary", rate_hz=0.5, messages=3,
         starts=3),
    Plan("warmup", "Warm-up of a realtime flow", rate_hz=20.0, messages=40),
    Plan("length", "Flows of 2, 3, 5 and 8 containers", containers=(2, 3, 5, 8), messages=60,
         starts=3),
    Plan("volume-and-api", "Payload size and API response time",
         steps=("source", "call", "action"), rate_hz=20.0, messages=30,
         payloads=(1024, 65_536, 1_048_576), delays=(10.0, 100.0, 300.0), starts=3),
)  # fmt: skip


def quick_run(root: Path, *, seed: int = 1, launcher: str = "docker") -> Path:
    """Write a run of the whole catalogue as the quick profile measures it; return ``root``."""
    return write_run(root, QUICK, seed=seed, launcher=launcher)


def large_run(root: Path, *, spans: int = 1_000_000, starts: int = 5, seed: int = 1) -> Path:
    """Write one realtime scenario of about ``spans`` span records; return ``root``."""
    plan = Plan(
        "realtime", "Realtime flow of three containers", rate_hz=200.0, starts=starts,
        messages=round(spans / starts / 6),
    )  # fmt: skip
    return write_run(root, (plan,), seed=seed)


def write_run(
    root: Path, plans: tuple[Plan, ...], *, seed: int = 1, launcher: str = "docker"
) -> Path:
    """Write a complete run of ``plans``; the trials are in a shuffled order, as a run's are."""
    rng = np.random.default_rng(seed)
    order = [(plan, cell) for plan in plans for cell in plan.containers for _ in range(plan.starts)]
    rng.shuffle(order)
    trials = []
    clock_ns = 5_000 * S
    for index, (plan, cell) in enumerate(order, start=1):
        trial = make_trial(plan, cell, index=index, at_ns=clock_ns, rng=rng, launcher=launcher)
        clock_ns = trial.meta["end_ns"] + S
        trials.append(trial)
    return store(root, describe(plans, trials, seed=seed, launcher=launcher), trials)


def store(root: Path, run: Json, trials: list[Trial]) -> Path:
    """Write ``run.json`` and every trial below ``root``; return ``root``."""
    root.mkdir(parents=True, exist_ok=True)
    for trial in trials:
        folder = root / "trials" / f"{trial.meta['index']:04d}"
        folder.mkdir(parents=True)
        (folder / "trial.json").write_text(json.dumps(trial.meta))
        _write_table(folder / "spans.parquet", trial.spans, SPAN_TYPES)
        _write_table(folder / "resources.parquet", trial.resources, RESOURCE_TYPES)
    (root / "run.json").write_text(json.dumps(run, indent=1))
    return root


def amend(path: Path, change: Callable[[Json], object]) -> None:
    """Change a JSON file in place: ``change`` gets its content and alters it."""
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def rows(records: list[Json]) -> dict[str, npt.NDArray[Any]]:
    """Columns of a span table from hand-written records; what a record leaves out is 0."""
    return {
        name: np.array([record.get(name, 0) for record in records], dtype=kind)
        for name, kind in SPAN_TYPES.items()
    }


def samples(records: list[tuple[int, int, int, int]]) -> dict[str, npt.NDArray[Any]]:
    """Columns of a resource table from (instance, at_ns, cpu_ns, memory_bytes)."""
    table = np.array([(*record, 0) for record in records], dtype=np.int64).reshape(-1, 5)
    return {name: table[:, i].astype(kind) for i, (name, kind) in enumerate(RESOURCE_TYPES.items())}


def describe(
    plans: tuple[Plan, ...], trials: list[Trial], *, seed: int = 1, launcher: str = "docker"
) -> Json:
    """The content of ``run.json`` for these trials."""
    isolates = launcher == "docker"
    place = "container" if isolates else "process"
    return {
        "format": 1, "run_id": f"20261124-031500-{seed:06x}", "status": "complete", "error": None,
        "created": "2026-11-24T03:15:00+00:00", "finished": "2026-11-24T03:18:20+00:00",
        "seed": seed, "profile": "quick", "argv": ["run", *(p.name for p in plans)],
        "launcher": launcher, "launcher_reason": "a container engine answers",
        "isolates": isolates, "broker": "rabbitmq", "broker_reason": "asked for",
        "broker_placement": place, "flow_types": ["ordinary", "realtime"], "clock_id": CLOCK,
        "environment": {
            "cpu": "Synthetic CPU", "cores": 2, "memory_bytes": 8 << 30, "kernel": "6.1.0",
            "os": "Debian GNU/Linux 12 (bookworm)", "python": "3.11.7",
            "engine": "20.10.24" if isolates else None, "broker_version": "3.10.8",
            "cgroup": "v1" if isolates else None, "hopbench": "0.1.0", "commit": None,
            "packages": {"pika": "1.4.4"},
        },
        "broker_configuration": {"persistent": False, "confirms": True, "prefetch": 1},
        "scenarios": [_describe_plan(plan) for plan in plans],
        "claims": CLAIMS,
        "floor": {"before": floor(0.58, place, seed), "after": floor(0.60, place, seed + 1)},
        "trials": [
            {"index": t.meta["index"], "scenario": t.meta["scenario"],
             "path": f"trials/{t.meta['index']:04d}", "status": t.meta["status"]}
            for t in trials
        ],
        "planned_trials": sum(p.starts * len(p.containers) for p in plans),
    }  # fmt: skip


def floor(p50_ms: float, placement: str, seed: int) -> Json:
    """A FLOOR whose bare broker hop has about this median."""
    return {
        "timer_resolution_ns": 1, "timer_reads": 20_000,
        "scheduling_jitter_us": machine_us(55.0, seed),
        "loopback_tcp_us": machine_us(25.0, seed + 1),
        "broker_hop_ms": broker_hop(p50_ms, seed),
        "placement": placement, "body_bytes": 1024, "rate_hz": 50.0, "problems": [],
    }  # fmt: skip


def machine_us(p50_us: float, seed: int, n: int = 1000) -> Json:
    """A floor figure of the machine itself, in microseconds."""
    values = np.random.default_rng(seed).lognormal(np.log(p50_us), 0.3, n)
    p50, p99 = np.quantile(values, (0.5, 0.99))
    return {
        "p50": float(p50), "p99": float(p99), "n": n, "samples_ns": [int(v * 1000) for v in values],
    }  # fmt: skip


def broker_hop(p50_ms: float, seed: int, n: int = 200) -> Json:
    """The bare broker hop of a FLOOR."""
    hops_ms = np.random.default_rng(seed).lognormal(np.log(p50_ms), 0.2, n)
    p50, p95, p99 = np.quantile(hops_ms, (0.5, 0.95, 0.99))
    return {
        "mean": float(hops_ms.mean()), "p50": float(p50), "p95": float(p95), "p99": float(p99),
        "n": n, "samples_ns": [int(v) for v in hops_ms * MS],
    }  # fmt: skip


def chain(plan: Plan, containers: int | None) -> list[Json]:
    """The steps of a trial, the middle ones repeated up to ``containers``."""
    names = list(plan.steps)
    if containers is not None and containers != len(names):
        middle = names[1:-1]
        repeated = [f"{middle[i % len(middle)]}-{i + 1}" for i in range(containers - 2)]
        names = [names[0], *repeated, names[-1]]
    return [
        {"index": i, "id": name, "component": name.split("-")[0], "function": "run",
         "revision": hashlib.sha256(name.encode()).hexdigest()[:12]}
        for i, name in enumerate(names)
    ]  # fmt: skip


def make_trial(
    plan: Plan,
    containers: int | None,
    *,
    index: int,
    at_ns: int,
    rng: np.random.Generator,
    launcher: str = "docker",
) -> Trial:
    """One valid trial of a plan that begins at ``at_ns``."""
    from tests.fakes.flows import ordinary, realtime

    steps = chain(plan, containers)
    cells = _message_cells(plan)
    flow = "-".join(step["id"] for step in steps)
    meta: Json = {
        "index": index, "scenario": plan.name, "flow_type": plan.flow_type, "flow": flow,
        "flow_digest": hashlib.sha256(flow.encode()).hexdigest()[:16],
        "cell": {"containers": len(steps)}, "steps": steps, "message_cells": cells,
        "status": "valid", "reasons": [], "clock_id": CLOCK, "clock_ids_seen": [CLOCK],
        "start_ns": at_ns, "errors": [],
        "floor": broker_hop(0.59, index) if plan.floor_per_start else None,
    }  # fmt: skip
    make = ordinary if plan.flow_type == "ordinary" else realtime
    return make(plan, meta, rng, containers=launcher == "docker")


def span_table(blocks: list[dict[str, Any]]) -> dict[str, npt.NDArray[Any]]:
    """Columns of a span table from blocks of columns; a scalar stands for a whole column."""
    sizes = [max(np.size(value) for value in block.values()) for block in blocks]
    return {
        name: np.concatenate(
            [np.broadcast_to(np.asarray(b.get(name, 0), dtype=kind), (size,))
             for b, size in zip(blocks, sizes, strict=True)]
        )
        for name, kind in SPAN_TYPES.items()
    }  # fmt: skip


def kinds() -> dict[str, int]:
    """The record kinds and flags by name, for tests that write records by hand."""
    return {"SEND": SEND, "EMIT": EMIT, "PROCESS": PROCESS, "MARK": MARK, "FIRST": FIRST,
            "LOAD_STEP": LOAD_STEP}  # fmt: skip


def _message_cells(plan: Plan) -> list[Json]:
    cells = [{"payload_bytes": p, "api_delay_ms": d} for p in plan.payloads for d in plan.delays]
    return [
        cell if network is None else cell | {"network_delay_ms": network}
        for cell in cells
        for network in plan.network
    ]


def _describe_plan(plan: Plan) -> Json:
    """A plan as ``run.json`` lists its scenario."""
    return {
        "name": plan.name, "title": plan.title, "flow_type": plan.flow_type,
        "digest": hashlib.sha256(plan.name.encode()).hexdigest()[:16],
        "steps": [{k: s[k] for k in ("id", "component", "function")} for s in chain(plan, None)],
        "load": {"arrivals": "constant" if plan.flow_type == "ordinary" else "poisson",
                 "rate_hz": plan.rate_hz, "messages": plan.messages,
                 "payload_bytes": plan.payloads[0]},
        "message_cells": _message_cells(plan),
        "start_cells": list(plan.containers), "starts": plan.starts,
    }  # fmt: skip


def _write_table(path: Path, columns: dict[str, npt.NDArray[Any]], types: dict[str, str]) -> None:
    arrays = {name: pa.array(columns[name].astype(kind)) for name, kind in types.items()}
    pq.write_table(pa.table(arrays), path, compression="zstd", write_page_checksum=True)
