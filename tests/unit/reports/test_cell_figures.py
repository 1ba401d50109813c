"""A cell's figures: definitions, cold and warm, and what is null."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from reports.results import analyse
from tests.fakes import tiny
from tests.fakes.rundir import MS, Json, Plan, amend, write_run


def first_cell(root: Path, scenario: str = "realtime") -> Json:
    """The figures of the scenario's first cell."""
    found: Json = analyse(root)["figures"][scenario]["cells"][0]
    return found


def three_starts(root: Path) -> Path:
    """Three starts of one cold (10 ms later everywhere) and two warm executions."""

    def shape(_: int) -> list[Json]:
        cold = tiny.message(1, first=True)
        for record in cold[3:]:
            instants = {name: record[name] for name in ("t0_ns", "t1_ns", "t2_ns", "t3_ns")}
            record |= {name: at_ns + 10 * MS for name, at_ns in instants.items() if at_ns}
        return [*cold, *tiny.message(2, at_ms=1000), *tiny.message(3, at_ms=2000)]

    return tiny.run(root, tiny.starts(3, shape))


def test_figures_of_warm_executions(tmp_path: Path) -> None:
    """Means are those of the definitions; the cold execution is in none but its own figure."""
    cell = first_cell(three_starts(tmp_path))
    means = {name: cell[name]["mean"] for name in (
        "hop", "ingress", "end_to_end", "uncorrected", "component", "overhead", "overhead_between",
        "cold_end_to_end", "lag",
    )}  # fmt: skip
    assert means == pytest.approx({
        "hop": 6.5, "ingress": 5, "end_to_end": 50, "uncorrected": 49, "component": 31,
        "overhead": 19, "overhead_between": 13, "cold_end_to_end": 60, "lag": 1,
    })  # fmt: skip
    assert (cell["starts"], cell["trials"], cell["messages"]) == (3, 3, 9)
    assert (cell["hop"]["starts"], cell["hop"]["messages"]) == (3, 12)
    assert [(h["from"], h["to"]) for h in cell["hops"]] == [
        ("source", "mapper"),
        ("mapper", "action"),
    ]
    assert [h["total"]["mean"] for h in cell["hops"]] == [7.0, 6.0]
    assert [s["process"]["mean"] for s in cell["steps"]] == [10.0, 10.0, 14.0]
    assert cell["residual"] == {
        "max_share": 0.0, "over_limit": 0, "share_over_limit": 0.0, "executions": 9,
        "limit": 0.01, "allowed_share": 0.001,
    }  # fmt: skip


def _set_share(trial: Json, share: float | None) -> None:
    trial["load"]["cpu_share"] = share


def test_the_generators_cpu(tmp_path: Path) -> None:
    """The mean over trials of the busiest generator's share; null where no trial says it."""
    root = three_starts(tmp_path)
    assert first_cell(root)["generator_cpu"] is None
    for index, share in enumerate((0.1, 0.2, None), start=1):
        busy = partial(_set_share, share=share)
        amend(root / "trials" / f"{index:04d}" / "trial.json", busy)
    found = first_cell(root)["generator_cpu"]
    assert (found["value"], found["unit"], found["starts"]) == (pytest.approx(0.15), "cores", 2)


def test_quantiles_need_enough_messages(tmp_path: Path) -> None:
    """Six warm messages give no quantile: null, with its bounds."""
    stat = first_cell(three_starts(tmp_path))["end_to_end"]
    assert [stat[k] for k in ("p50", "p50_low", "p50_high", "p95", "p95_high", "p99")] == [None] * 6
    assert (stat["min"], stat["max"]) == (50.0, 50.0)


def test_ordinary_execution_is_its_own_start(tmp_path: Path) -> None:
    """In an ordinary flow all executions count, each as a start; none is cold."""
    plan = Plan("ordinary", "Ordinary", "ordinary", rate_hz=0.5, messages=4, starts=1)
    cell = first_cell(write_run(tmp_path, (plan,)), "ordinary")
    assert (cell["starts"], cell["trials"], cell["messages"]) == (4, 1, 4)
    assert (cell["end_to_end"]["starts"], cell["end_to_end"]["messages"]) == (4, 4)
    assert (cell["hop"]["starts"], cell["hop"]["messages"]) == (4, 8)
    assert cell["end_to_end"]["mean_low"] is not None
    assert cell["cold_end_to_end"]["messages"] == 0
    assert cell["floor_multiple"] is None
    assert cell["warm_up"]["messages_to_steady"] is None
    assert cell["resources"]["idle_per_second"] is None


def test_message_cells_are_kept_apart(tmp_path: Path) -> None:
    """Messages are counted in the cell that their SEND names, and costs are not shared out."""
    plan = Plan("sweep", "Sweep", steps=("source", "call", "action"), messages=5, starts=3,
                delays=(10.0, 100.0))  # fmt: skip
    cells = analyse(write_run(tmp_path, (plan,)))["figures"]["sweep"]["cells"]
    assert [cell["cell"]["api_delay_ms"] for cell in cells] == [10.0, 100.0]
    assert [cell["messages"] for cell in cells] == [15, 15]
    slow, fast = cells[1]["component"]["mean"], cells[0]["component"]["mean"]
    assert slow - fast == pytest.approx(90, abs=2)
    assert cells[0]["resources"] is None


def test_lengths_are_cells(tmp_path: Path) -> None:
    """Each number of containers is a cell with its own hops."""
    plan = Plan("length", "Length", containers=(2, 5), messages=10, starts=3)
    cells = analyse(write_run(tmp_path, (plan,)))["figures"]["length"]["cells"]
    assert [cell["cell"]["containers"] for cell in cells] == [2, 5]
    assert [len(cell["hops"]) for cell in cells] == [1, 4]


def test_floor_multiple_is_per_start(tmp_path: Path) -> None:
    """Each hop is over the floor of the same start; the multiple is the p50 of all of them."""

    def shape(_: int) -> list[Json]:
        return [
            record
            for trace in range(1, 11)
            for record in tiny.message(trace, at_ms=100.0 * trace, first=trace == 1)
        ]

    root = tiny.run(tmp_path, tiny.starts(3, shape))
    for index, p50 in enumerate((6.5, 13.0, 3.25), start=1):
        file = tmp_path / f"trials/{index:04d}/trial.json"
        amend(file, lambda t, p50=p50: t.update(floor={"p50": p50}))  # type: ignore[misc]
    multiple = first_cell(root)["floor_multiple"]
    # Hops take 7 and 6 ms: the multiples are 7 and 6 over 13, over 6.5 and over 3.25.
    assert multiple["value"] == pytest.approx((7 / 6.5 + 6 / 6.5) / 2)
    assert (multiple["starts"], multiple["messages"]) == (3, 27)


def test_histogram_holds_every_message(tmp_path: Path) -> None:
    """The histogram's counts add up to the warm messages, and its edges hold the extremes."""
    cell = first_cell(write_run(tmp_path, (Plan("realtime", "R", starts=3),)))
    histogram, stat = cell["histogram"], cell["end_to_end"]
    assert stat["messages"] == sum(histogram["counts"])
    assert len(histogram["counts"]) + 1 == len(histogram["edges_ms"])
    assert histogram["edges_ms"][0] <= stat["min"]
    assert histogram["edges_ms"][-1] >= stat["max"]
    assert np.all(np.diff(histogram["edges_ms"]) > 0)


def test_histogram_of_one_value(tmp_path: Path) -> None:
    """Messages that all took the same time make one bin."""
    histogram = first_cell(three_starts(tmp_path))["histogram"]
    assert histogram["counts"] == [6]


def test_negative_intervals_reach_the_figures(tmp_path: Path) -> None:
    """A planted negative interval is in the accounting and in the figure's minimum."""

    def shape(index: int) -> list[Json]:
        records = tiny.message(1)
        if index == 0:
            records[3]["t0_ns"] = records[2]["t2_ns"] - MS
        return records

    cell = first_cell(tiny.run(tmp_path, tiny.starts(3, shape)))
    assert cell["accounting"]["negative_intervals"] == 1
    assert cell["hops"][0]["transit"]["min"] == -1.0


def test_figures_are_strict_json(tmp_path: Path) -> None:
    """Nothing in the results is NaN or infinite."""
    results = analyse(three_starts(tmp_path))
    assert results == json.loads(json.dumps(results, allow_nan=False))
