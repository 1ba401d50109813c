"""Synthetic runs of scenarios that show events: a flow that is changed, triggers that listen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from runtime.spans import EMIT, PROCESS
from tests.fakes.rundir import MS, Json, Plan, amend, write_run

Said = Callable[[Json, int], str]


def changed_run(
    root: Path,
    *,
    name: str = "redeploy",
    phases: Sequence[tuple[str, str]] = (("first", "realtime"), ("relaunched", "realtime")),
    passes: int = 3,
    said: Said = lambda trial, _at_ns: str(trial["phase"]["index"] + 1),
) -> Path:
    """A scenario with phases; ``said`` is what a message of a trial says of the revision.

    In the first phase, revision 1 is deployed, drafted and published before the start; revision 2
    is deployed a third of the load's time into it, and drafted at two thirds. It is published
    before the last phase; before the others but the first, the flow is switched.
    """
    write_run(root, (Plan(name, "T", messages=20, starts=passes * len(phases)),))
    amend(root / "run.json", lambda run: _phased(run, phases, passes))
    for number, file in enumerate(sorted(root.glob("trials/*/trial.json"))):
        made: list[Json] = []

        def place(trial: Json, number: int = number, made: list[Json] = made) -> None:
            index = number % len(phases)
            trial["phase"] = {
                "index": index, "name": phases[index][0], "round": number // len(phases),
            }  # fmt: skip
            trial["flow_type"] = phases[index][1]
            trial["deeds"] = _deeds(trial, index, name)
            made.append(trial)

        amend(file, place)
        observe(file.parent, lambda at_ns, made=made: said(made[0], at_ns))  # type: ignore[misc]
    return root


def observe(folder: Path, value: Callable[[int], str], field: str = "revision") -> None:
    """Give every message that reached the last step of a trial a field."""
    spans = pq.read_table(folder / "spans.parquet").to_pydict()
    rows = [
        (trace, message, at_ns)
        for kind, step, trace, message, at_ns in zip(
            *(spans[key] for key in ("kind", "step", "trace", "message", "t1_ns")), strict=True
        )
        if kind == PROCESS and step == max(s for s in spans["step"] if s < 1000)
    ]
    write_observed(folder, [(*row, field, value(row[2])) for row in rows])


def write_observed(folder: Path, rows: Sequence[tuple[int, int, int, str, str]]) -> None:
    """Store an ``observed.parquet``: trace, message, instant, field, value."""
    columns: list[tuple[Any, ...]] = list(zip(*rows, strict=True)) or [()] * 5
    kinds = (pa.uint64(), pa.uint64(), pa.int64(), pa.string(), pa.string())
    names = ("trace", "message", "at_ns", "field", "value")
    table = {
        name: pa.array(list(column), kind)
        for name, column, kind in zip(names, columns, kinds, strict=True)
    }
    pq.write_table(pa.table(table), folder / "observed.parquet", write_page_checksum=True)


def listening_run(root: Path, *, copies: Callable[[int], int], name: str = "listen") -> Path:
    """A trigger that is called 30 times and emits each of 30 events in ``copies(calls)`` copies."""
    write_run(root, (Plan(name, "T", steps=("listen", "handle"), messages=30, starts=1),))

    def unprompted(run: Json) -> None:
        run["scenarios"][0].update(unprompted=True, observe=["event"])

    amend(root / "run.json", unprompted)
    folder = root / "trials" / "0001"
    table = pq.read_table(folder / "spans.parquet")
    spans = {key: list(column) for key, column in table.to_pydict().items()}
    calls = sorted(
        at for kind, step, at in zip(spans["kind"], spans["step"], spans["t1_ns"], strict=True)
        if kind == PROCESS and step == 0
    )  # fmt: skip
    kept = [
        row for row, (kind, step) in enumerate(zip(spans["kind"], spans["step"], strict=True))
        if not (kind == EMIT or (kind == PROCESS and step == 1))
    ]  # fmt: skip
    spans = {key: [values[row] for row in kept] for key, values in spans.items()}
    observed: list[tuple[int, int, int, str, str]] = []
    message = 1 << 40
    for number, at_ns in enumerate(calls, start=1):
        for copy in range(copies(number)):
            message += 1
            emitted = at_ns + (copy + 1) * MS // 10
            _append(spans, EMIT, 0, number, message, emitted)
            _append(spans, PROCESS, 1, number, message, emitted + MS)
            observed.append((number, message, emitted, "event", str(number)))
    arrays = {key: np.array(spans[key], dtype=table.column(key).type.to_pandas_dtype())
              for key in spans}  # fmt: skip
    pq.write_table(
        pa.table({key: pa.array(value) for key, value in arrays.items()}),
        folder / "spans.parquet", write_page_checksum=True,
    )  # fmt: skip
    write_observed(folder, observed)
    return root


def _append(
    spans: dict[str, list[Any]], kind: int, step: int, trace: int, message: int, at_ns: int
) -> None:
    row = dict.fromkeys(spans, 0) | {
        "kind": kind, "step": step, "trace": trace, "message": message, "t0_ns": at_ns - 1000,
        "t1_ns": at_ns, "t2_ns": at_ns + 1000, "t3_ns": at_ns + 2000, "instance": step,
    }  # fmt: skip
    for key, values in spans.items():
        values.append(row[key])


def _phased(run: Json, phases: Sequence[tuple[str, str]], passes: int) -> None:
    run["scenarios"][0].update(
        phases=[{"name": name, "flow_type": kind} for name, kind in phases],
        observe=["revision"], unprompted=False, starts=passes,
    )  # fmt: skip


def _deeds(trial: Json, index: int, name: str) -> list[Json]:
    start_ns, load_ns = trial["flow_start_ns"], trial["load_start_ns"]
    span_ns = trial["load_end_ns"] - load_ns
    if name == "switch":
        made = [("deploy", 1), ("draft", 1), ("publish", 1)] if index == 0 else [("switch", 0)]
        return [_deed(*one, start_ns - (3 - row) * MS) for row, one in enumerate(made)]
    if index:
        return [_deed("publish", 2, start_ns - MS)]
    before = [_deed(deed, 1, start_ns - (4 - row) * MS)
              for row, deed in enumerate(("deploy", "draft", "publish"))]  # fmt: skip
    return [
        *before,
        _deed("deploy", 2, load_ns + span_ns // 3),
        _deed("draft", 2, load_ns + 2 * span_ns // 3),
    ]


def _deed(deed: str, revision: int, at_ns: int) -> Json:
    revisions = {"revision": revision} if revision else {}
    return {"deed": deed, "at_ns": at_ns, "until_ns": at_ns + MS // 10, "revisions": revisions}
