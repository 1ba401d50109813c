"""What is planted into a run is counted in the right cell, in the results and on the page."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reports.render.html import render_html
from reports.results import analyse
from runtime.spans import EMIT, PROCESS, SEND
from tests.fakes.numbers_shown import Tree, loose_on_page
from tests.fakes.rundir import MS, Json, Plan, amend, write_run

SWEEP = Plan(
    "sweep", "Two payloads", messages=30, starts=3, payloads=(1024, 65_536), rate_hz=20.0
)  # fmt: skip
OTHER = Plan("other", "Another scenario", messages=30, starts=3, rate_hz=20.0)
CELL = 1
"""The message cell that everything is planted into: 64 KiB."""
Table = dict[str, np.ndarray[tuple[int, ...], np.dtype[np.generic]]]


def change(file: Path, how: Callable[[Table], Table]) -> None:
    """Change the columns of a Parquet file in place."""
    table = pq.read_table(file)
    columns = {
        field.name: np.array(table.column(field.name).to_pylist(), dtype=str(field.type))
        for field in table.schema
    }
    changed = how(columns)
    pq.write_table(pa.table({k: pa.array(v) for k, v in changed.items()}), file,
                   write_page_checksum=True)  # fmt: skip


def victims(spans: Table, count: int) -> list[int]:
    """Traces of warm messages of the cell."""
    sends = (spans["kind"] == SEND) & (spans["aux"] == CELL)
    found = [int(trace) for trace in spans["trace"][sends]]
    return sorted(found)[5 : 5 + count]


def rows_of(spans: Table, kind: int, step: int, trace: int) -> int:
    """The row of a record."""
    (row,) = np.flatnonzero(
        (spans["kind"] == kind) & (spans["step"] == step) & (spans["trace"] == trace)
    )
    return int(row)


def negative(spans: Table) -> Table:
    """Three messages were delivered 1 us before their sender's write returned."""
    for trace in victims(spans, 3):
        emit, process = rows_of(spans, EMIT, 0, trace), rows_of(spans, PROCESS, 1, trace)
        spans["t2_ns"][emit] = spans["t0_ns"][process] + 1000
    return spans


def zero(spans: Table) -> Table:
    """Two messages were delivered in the nanosecond in which the write returned."""
    for trace in victims(spans, 2):
        emit, process = rows_of(spans, EMIT, 0, trace), rows_of(spans, PROCESS, 1, trace)
        spans["t2_ns"][emit] = spans["t0_ns"][process]
    return spans


def without(spans: Table, rows: list[int]) -> Table:
    """The table without these rows."""
    keep = np.ones(spans["kind"].size, dtype=bool)
    keep[rows] = False
    return {name: values[keep] for name, values in spans.items()}


def lost(spans: Table) -> Table:
    """Four messages leave no trace after they were accepted."""
    gone = np.isin(spans["trace"], victims(spans, 4)) & (spans["kind"] != SEND)
    return without(spans, [int(row) for row in np.flatnonzero(gone)])


def duplicated(spans: Table) -> Table:
    """The last step handles two messages twice."""
    again = [rows_of(spans, PROCESS, 2, trace) for trace in victims(spans, 2)]
    copies = {name: values[again] for name, values in spans.items()}
    for name in ("t0_ns", "t1_ns", "t2_ns", "t3_ns"):
        copies[name] = copies[name] + 3 * MS
    return {name: np.concatenate([spans[name], copies[name]]) for name in spans}


def reordered(spans: Table) -> Table:
    """The first of two neighbours is taken by the last step after the second."""
    traces = sorted(int(t) for t in spans["trace"][spans["kind"] == SEND])
    first = next(t for t in traces[10:] if t + 1 in traces and t in victims(spans, 20))
    second = rows_of(spans, PROCESS, 2, first + 1)
    later = int(spans["t3_ns"][second]) + MS
    row = rows_of(spans, PROCESS, 2, first)
    shift = later - int(spans["t0_ns"][row])
    for name in ("t0_ns", "t1_ns", "t2_ns", "t3_ns"):
        spans[name][row] += shift
    return spans


def incomplete(spans: Table) -> Table:
    """Of one execution the record of an output is missing."""
    return without(spans, [rows_of(spans, EMIT, 0, victims(spans, 1)[0])])


PLANTS: dict[str, tuple[Callable[[Table], Table], str, int, bool]] = {
    "negative": (negative, "negative_intervals", 3, True),
    "zero": (zero, "zero_intervals", 2, True),
    "lost": (lost, "lost", 4, False),
    "duplicated": (duplicated, "duplicated", 2, True),
    "reordered": (reordered, "reordered", 1, True),
    "incomplete": (incomplete, "incomplete", 1, False),
}
"""What is planted: how, as what it is counted, how often, and whether the trial stays valid."""


def planted(tmp_path: Path, plant: Callable[[Table], Table]) -> Json:
    """Results of a run of two scenarios, with something planted into one trial of the sweep."""
    root = write_run(tmp_path / "run", (SWEEP, OTHER))
    change(first_trial(root) / "spans.parquet", plant)
    return analyse(root)


def first_trial(root: Path) -> Path:
    """The folder of the first trial of the sweep."""
    return next(
        file.parent for file in sorted(root.glob("trials/*/trial.json"))
        if '"scenario": "sweep"' in file.read_text()
    )  # fmt: skip


def page_counts(results: Json, name: str) -> list[tuple[str, int]]:
    """A column of the page's table of counts, with the row's head."""
    found = []
    for node in Tree(render_html(results)).root.every():
        if node.attributes.get("data-count") == name and node.parent is not None:
            head = node.parent.every()[1].text()
            found.append((head, int(re.sub(r"\D.*", "", node.text()))))
    return found


@pytest.mark.parametrize("name", PLANTS)
def test_planted_is_counted(tmp_path: Path, name: str) -> None:
    """Each is counted in its own cell and in no other, in the results and on the page."""
    plant, counted, count, valid = PLANTS[name]
    before = analyse(write_run(tmp_path / "sound", (SWEEP, OTHER)))
    after = planted(tmp_path, plant)
    rows = zip(before["integrity"], after["integrity"], strict=True)
    grown = {
        (row["scenario"], row["cell"]["payload_bytes"]): (
            row["accounting"][counted] - less["accounting"][counted]
        )
        for less, row in rows
    }
    assert grown == {("sweep", 1024): 0, ("sweep", 65_536): count, ("other", 1024): 0}
    shown = page_counts(after, counted)
    assert [number for _, number in shown] == [r["accounting"][counted] for r in after["integrity"]]
    sound = [row["accounting"][counted] for row in before["integrity"]]
    more = [head for (head, number), less in zip(shown, sound, strict=True) if number > less]
    assert more == ["sweep 3 containers, 64 KiB"]
    assert after["counts"]["invalid"] == (0 if valid else 1)


@pytest.mark.parametrize("name", ["lost", "incomplete"])
def test_what_is_lost_is_said(tmp_path: Path, name: str) -> None:
    """A trial that lost messages or records is invalid with its reason, which the page shows."""
    results = planted(tmp_path, PLANTS[name][0])
    (problem,) = [p for p in results["problems"] if "invalid" in p]
    assert {"lost": "4 of 60 messages", "incomplete": "1 of 60 executions"}[name] in problem
    html = render_html(results)
    assert problem.partition(": ")[2] in " ".join(Tree(html).root.text().split())
    assert loose_on_page(html) == []


def test_damaged_records_are_counted(tmp_path: Path) -> None:
    """Records that could not be read are counted for the cells of their trial, and of no other."""
    root = write_run(tmp_path / "run", (SWEEP, OTHER))
    reason = "spool: 2 of 400 records are damaged; measure again"
    amend(
        first_trial(root) / "trial.json",
        lambda t: t.update(status="invalid", reasons=[reason], damaged_records=2),
    )
    results = analyse(root)
    assert [row["damaged_records"] for row in results["integrity"]] == [2, 2, 0]
    assert [number for _, number in page_counts(results, "damaged")] == [2, 2, 0]


CONTRADICTIONS: dict[str, Callable[[Table, int, int], None]] = {
    "delivered before it was emitted": lambda s, emit, process: shift(s, "t0_ns", process, -3 * MS),
    "entered before it was delivered": lambda s, emit, process: shift(s, "t1_ns", process, -9 * MS),
    "emitted after process had ended": lambda s, emit, process: shift(s, "t1_ns", emit, MS),
    "acknowledged before its end": lambda s, emit, process: shift(s, "t3_ns", process, -MS),
    "confirmed before it was emitted": lambda s, emit, process: shift(s, "t3_ns", emit, -9 * MS),
}


def shift(spans: Table, instant: str, row: int, by_ns: int) -> None:
    """Move one instant of one record."""
    spans[instant][row] += by_ns


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_residual_of_contradictions(tmp_path: Path, name: str) -> None:
    """Times that contradict each other make a residual in their cell, and the trial invalid."""

    def contradict(spans: Table) -> Table:
        for trace in victims(spans, 1):
            emit, process = rows_of(spans, EMIT, 0, trace), rows_of(spans, PROCESS, 1, trace)
            CONTRADICTIONS[name](spans, emit, process)
        return spans

    results = planted(tmp_path, contradict)
    residuals = [row["residual"] for row in results["integrity"]]
    assert [one["over_limit"] for one in residuals] == [0, 1, 0]
    assert residuals[1]["max_share"] > residuals[1]["limit"] == 0.01
    assert residuals[1]["share_over_limit"] == pytest.approx(1 / 90)
    assert [number for _, number in page_counts(results, "residual")] == [0, 1, 0]
    assert results["counts"]["invalid"] == 1
    assert any("do not add up to the whole within 1%" in problem for problem in results["problems"])


def test_one_residual_in_a_thousand_is_allowed(tmp_path: Path) -> None:
    """99.9 % of the messages must add up: one of 1000 may not, two may not be."""
    plan = Plan("realtime", "R", messages=1000, starts=1)
    for count, invalid in ((1, 0), (2, 1)):
        root = write_run(tmp_path / str(count), (plan,))

        def contradict(spans: Table, count: int = count) -> Table:
            for trace in range(100, 100 + count):
                shift(spans, "t3_ns", rows_of(spans, PROCESS, 1, trace), -MS)
            return spans

        change(root / "trials/0001/spans.parquet", contradict)
        results = analyse(root)
        assert results["integrity"][0]["residual"]["over_limit"] == count
        assert results["counts"]["invalid"] == invalid


def test_sound_records_have_no_residual(tmp_path: Path) -> None:
    """Where nothing contradicts itself the residual is nothing at all, not just a little."""
    results = analyse(write_run(tmp_path / "run", (SWEEP, OTHER)))
    assert [row["residual"]["max_share"] for row in results["integrity"]] == [0.0, 0.0, 0.0]
    assert [row["residual"]["executions"] for row in results["integrity"]] == [90, 90, 90]


def test_records_of_another_time(tmp_path: Path) -> None:
    """Records of a clock that agrees with none of the trial's instants make it invalid."""

    def later(spans: Table) -> Table:
        action = (spans["kind"] == PROCESS) & (spans["step"] == 2)
        for name in ("t0_ns", "t1_ns", "t2_ns", "t3_ns"):
            spans[name][action] += 86_400_000 * MS
        return spans

    results = planted(tmp_path, later)
    assert results["counts"]["invalid"] == 1
    assert any("60 of 372 records lie outside the time" in p for p in results["problems"])
