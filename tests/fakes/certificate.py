"""A synthetic run of ``bench certify`` whose meter is right, and ways to plant a defect in it.

The flow is source, wait, action. Parts of hops are drawn narrowly, so that what a check finds is
what was planted; ``wait`` takes 10 ms and what a message asks for, as the certificate's scenarios
have it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.spans import EMIT, FIRST, LOAD_STEP, PROCESS, SEND
from tests.fakes.rundir import (
    MS,
    NO_INSTANCE,
    Json,
    Plan,
    S,
    Trial,
    describe,
    make_trial,
    span_table,
    store,
)

Int = npt.NDArray[np.int64]
DELAYS_MS = (0.0, 1.0, 5.0, 10.0, 50.0)
STEPS = ("source", "wait", "action")
WAIT = 1
RATE_HZ = 50.0
FREEZE_AT_S, FREEZE_FOR_S = 10.0, 6.0
Spans = dict[str, npt.NDArray[Any]]
Plant = Callable[[str, Spans], None]
"""Changes the span columns of a trial of a scenario, in place."""


def certificate_run(root: Path, *, plant: Plant | None = None, without: Sequence[str] = ()) -> Path:
    """Write a whole run with its ``meter.json``, but for the scenarios ``without``."""
    setups = [setup for setup in _plans() if setup.plan.name not in without]
    trials = []
    for setup in setups:
        for made in _trials()[setup.plan.name]:
            spans = {name: column.copy() for name, column in made.spans.items()}
            if plant is not None:
                plant(setup.plan.name, spans)
            trials.append(Trial(made.meta, spans, made.resources))
    run = describe(tuple(setup.plan for setup in setups), trials)
    run |= {"claims": [], "profile": "full"}
    for scenario, setup in zip(run["scenarios"], setups, strict=True):
        scenario["faults"] = setup.faults
        scenario["load"] |= {"loop": setup.loop, "processes": 1}
    store(root, run, trials)
    (root / "meter.json").write_text(json.dumps(meter(np.random.default_rng(1))))
    return root


@cache
def _trials() -> Mapping[str, list[Trial]]:
    """The trials of every scenario, made once: nobody may change them."""
    rng = np.random.default_rng(1)
    made: dict[str, list[Trial]] = {}
    index = 0
    for setup in _plans():
        for _ in range(setup.plan.starts):
            index += 1
            trial = _trial(setup, index=index, at_ns=(5_000 + 200 * index) * S, rng=rng)
            made.setdefault(setup.plan.name, []).append(trial)
    return made


def meter(rng: np.random.Generator, pairs: int = 20, rounds: int = 50) -> Json:
    """The content of ``meter.json`` of a right meter, on one clock."""
    off = 0.6 + rng.normal(0, 0.01, pairs)
    before = np.cumsum(rng.integers(40_000, 60_000, rounds)) + 10**12
    exchange = {
        "before_ns": before.tolist(),
        "remote_ns": (before + rng.integers(10_000, 20_000, rounds)).tolist(),
        "after_ns": (before + 30_000).tolist(),
    }
    return {
        "format": 1,
        "probe": {
            "messages": 15, "rate_hz": 100.0,
            "on_ms": (off + rng.normal(0.005, 0.005, pairs)).tolist(), "off_ms": off.tolist(),
        },
        "span_write_ns": rng.normal(4_000, 200, 60).tolist(),
        "clock_id": describe((), [])["clock_id"],
        "clocks": [
            {"from": "host", "to": "container", **exchange},
            {"from": "container", "to": "container", **exchange},
        ],
    }  # fmt: skip


def of_step(spans: Spans, step: int, kind: int | None = None) -> npt.NDArray[np.bool_]:
    """The rows of a step, of one kind or of all."""
    rows: npt.NDArray[np.bool_] = spans["step"] == step
    return rows if kind is None else rows & (spans["kind"] == kind)


@dataclass(frozen=True, slots=True)
class _Setup:
    """One scenario: its plan, its faults as run.json has them, and its loop."""

    plan: Plan
    faults: list[Json]
    loop: str = "open"


def _plans() -> list[_Setup]:
    delays = Plan(
        "component-delay", "Delays", steps=STEPS, delays=DELAYS_MS, messages=20, starts=4,
        rate_hz=RATE_HZ,
    )  # fmt: skip
    setups = [_Setup(delays, [])]
    asking = {"kind": "network delay", "step": "wait", "delay_ms": None}
    network = Plan(
        "network-delay", "Delays", steps=STEPS, network=DELAYS_MS, messages=24, starts=4,
        rate_hz=RATE_HZ,
    )  # fmt: skip
    setups.append(_Setup(network, [asking]))
    for loop in ("open", "closed"):
        fault = {
            "kind": "freeze", "step": "wait", "after_s": FREEZE_AT_S, "for_s": FREEZE_FOR_S,
        }  # fmt: skip
        plan = Plan(f"freeze-{loop}", "Freeze", steps=STEPS, messages=1500, starts=1)
        setups.append(_Setup(plan, [fault], loop))
    return setups + [
        _Setup(Plan(f"same-{which}", "Same", steps=STEPS, messages=90, starts=4), [])
        for which in ("a", "b")
    ]


def _trial(setup: _Setup, *, index: int, at_ns: int, rng: np.random.Generator) -> Trial:
    plan, faults, loop = setup.plan, setup.faults, setup.loop
    trial = make_trial(plan, None, index=index, at_ns=at_ns, rng=rng)
    begin = int(trial.meta["load_start_ns"])
    cells = [(asked, network) for asked in plan.delays for network in plan.network]
    count = plan.messages * len(cells)
    cell = rng.permutation(np.repeat(np.arange(len(cells)), plan.messages))
    asked_ms, network_ms = (np.array([cells[c][i] or 0.0 for c in cell]) for i in (0, 1))
    gap_ns = np.rint(S / RATE_HZ + (asked_ms + 2 * network_ms) * MS).astype(np.int64)
    intended = begin + 10 * MS + np.concatenate([[0], np.cumsum(gap_ns)[:-1]])
    network_ns, frozen = np.rint(network_ms * MS).astype(np.int64), (0, 0)
    for fault in faults:
        if fault["kind"] == "freeze":
            frozen = (
                begin + round(FREEZE_AT_S * S),
                begin + round((FREEZE_AT_S + FREEZE_FOR_S) * S),
            )
            done = {"kind": "freeze", "step": "wait", "at_ns": frozen[0], "until_ns": frozen[1]}
        else:
            done = {"kind": "network delay", "step": "wait", "at_ns": at_ns, "until_ns": begin}
        trial.meta["faults"] = [done]
    trial.spans = _walk(
        intended, cell, asked_ms, network_ns, frozen, closed=loop == "closed", count=count, rng=rng
    )
    last = max(int(trial.spans[f"t{i}_ns"].max()) for i in range(4))
    trial.meta["end_ns"] = max(trial.meta["end_ns"], last + S)
    trial.meta["accounting"] |= {"sent": count, "accepted": count, "handled": count}
    return trial


def _walk(
    intended: Int,
    cell: npt.NDArray[np.intp],
    asked_ms: npt.NDArray[np.float64],
    network_ns: Int,
    frozen: tuple[int, int],
    *,
    closed: bool,
    count: int,
    rng: np.random.Generator,
) -> Spans:
    """Every message through the flow, one after another at the step ``wait``."""

    def parts(mean_us: float) -> Int:
        drawn: Int = np.rint(mean_us * 1000 + rng.normal(0, mean_us * 30, count)).astype(np.int64)
        return drawn

    lag, out, transit, inside = parts(60), parts(40), parts(450), parts(40)
    own_ns = np.rint((0.1 if frozen[1] else 10.0) * MS + asked_ms * MS).astype(np.int64)
    records: list[dict[str, Any]] = []
    free = ended = 0
    for n in range(count):
        flags = FIRST if n == 0 else 0
        sent = int(intended[n] + lag[n])
        if closed:
            sent = max(sent, ended + int(lag[n]))
        handed = sent + int(out[n])
        ids = [10 * (n + 1) + k for k in range(3)]
        base = {"trace": n + 1, "flags": flags}
        records.append(base | {
            "kind": SEND, "step": LOAD_STEP, "aux": int(cell[n]), "message": ids[0],
            "instance": NO_INSTANCE, "t0_ns": int(intended[n]), "t1_ns": sent, "t2_ns": handed,
            "t3_ns": handed + 300_000,
        })  # fmt: skip
        for step in range(3):
            delivered = handed + int(transit[(n + step) % count])
            if step == WAIT:
                delivered = max(delivered + int(network_ns[n]), free)
                if frozen[0] <= delivered < frozen[1]:
                    delivered = frozen[1] + int(transit[n])
            if step > WAIT:
                delivered += int(network_ns[n])
            entry = delivered + int(inside[n])
            ended = entry + (int(own_ns[n]) if step == WAIT else 50_000)
            free = ended if step == WAIT else free
            records.append(base | {
                "kind": PROCESS, "step": step, "aux": int(step < 2), "message": ids[step],
                "instance": step, "t0_ns": delivered, "t1_ns": entry, "t2_ns": ended,
                "t3_ns": ended + 50_000,
            })  # fmt: skip
            if step < 2:
                emitted = ended - 5_000
                handed = emitted + int(out[n])
                records.append(base | {
                    "kind": EMIT, "step": step, "message": ids[step + 1], "parent": ids[step],
                    "instance": step, "t0_ns": 0, "t1_ns": emitted, "t2_ns": handed,
                    "t3_ns": handed + 300_000, "flags": 0,
                })  # fmt: skip
    return span_table(records)
