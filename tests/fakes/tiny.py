"""Runs so small that every figure of theirs is known by hand.

Each message of the three-step flow takes, in ms after its intended send: sent 1, handed 2; source
delivered 5, entered 6, emitted 15, handed 17, ended 16; mapper delivered 20, entered 22, emitted
30, handed 31, ended 32; action delivered 35, entered 36, ended 50. So the ingress is 5, the hops
are 7 and 6, the component time is 31, end-to-end is 50.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from runtime.spans import EMIT, FIRST, LOAD_STEP, PROCESS, SEND
from tests.fakes.rundir import MS, Json, Plan, S, Trial, describe, make_trial, rows, store

Records = list[Json]
BASE_NS = 1_000 * S


def message(trace: int, *, at_ms: float = 0.0, first: bool = False, cell: int = 0) -> Records:
    """The six records of one execution: SEND, PROCESS, EMIT, PROCESS, EMIT, PROCESS."""
    flags = FIRST if first else 0
    ids = [trace * 10, trace * 10 + 1, trace * 10 + 2]

    def record(kind: int, step: int, number: int, at: tuple[float, ...], **more: int) -> Json:
        instants = {f"t{i}_ns": BASE_NS + round((at_ms + ms) * MS) for i, ms in enumerate(at)}
        return {"kind": kind, "step": step, "trace": trace, "message": ids[number], **instants,
                **more}  # fmt: skip

    def emit(step: int, at: tuple[float, ...]) -> Json:
        return record(EMIT, step, step + 1, at, parent=ids[step]) | {"t0_ns": 0}

    return [
        record(SEND, LOAD_STEP, 0, (0, 1, 2, 3), aux=cell, flags=flags, instance=65535),
        record(PROCESS, 0, 0, (5, 6, 16, 17), aux=1, flags=flags, instance=0),
        emit(0, (0, 15, 17, 18)),
        record(PROCESS, 1, 1, (20, 22, 32, 33), aux=1, flags=flags, instance=1),
        emit(1, (0, 30, 31, 32)),
        record(PROCESS, 2, 2, (35, 36, 50, 51), aux=0, flags=flags, instance=2),
    ]


def trial(records: Records, *, index: int = 1, plan: Plan | None = None) -> Trial:
    """A realtime trial (or one of ``plan``) whose spans are these records."""
    made = make_trial(
        plan or Plan("realtime", "Tiny", messages=2, starts=1), None,
        index=index, at_ns=BASE_NS, rng=np.random.default_rng(index),
    )  # fmt: skip
    made.spans = rows(records)
    counted = sum(record["kind"] == SEND for record in records)
    instants = [record[f"t{i}_ns"] for record in records for i in range(4)]
    made.meta["end_ns"] = max(made.meta["end_ns"], *instants, 0)
    made.meta["accounting"] |= {"sent": counted, "accepted": counted, "handled": counted}
    return made


def run(root: Path, trials: list[Trial], plans: tuple[Plan, ...] | None = None) -> Path:
    """Store trials as a complete run; return its folder."""
    plans = plans or (Plan("realtime", "Tiny", messages=2, starts=len(trials)),)
    return store(root, describe(plans, trials), trials)


def starts(count: int, shape: Callable[[int], Records]) -> list[Trial]:
    """``count`` trials; ``shape(i)`` gives the records of trial i (from 0)."""
    return [trial(shape(i), index=i + 1) for i in range(count)]


def only_claim(run_json: Json, metric: str, scenario: str, **more: Any) -> None:
    """Make a run have just one claim, X1, of this metric."""
    limit = more.pop("limit", None)
    target = None if limit is None else {
        "metric": metric, "limit": limit, "unit": more.pop("unit", "ms"),
        "upper": more.pop("upper", True),
    }  # fmt: skip
    run_json["claims"] = [{
        "id": "X1", "statement": "It is so.", "metric": metric, "scenario": scenario,
        "needs_containers": more.pop("needs_containers", False), "parameters": more,
        "target": target,
    }]  # fmt: skip
