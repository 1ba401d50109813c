"""What a flow costs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from reports import resources
from reports.cells import Cell
from reports.evidence import gather
from reports.rundir import read_run
from tests.fakes import tiny
from tests.fakes.rundir import Json, Plan, S, Trial, describe, make_trial, samples, store

T = tiny.BASE_NS


def realtime_trial(index: int) -> Trial:
    """Idle for 2 s, loaded for 4 s, idle for 2 s; 2 messages; CPU 1 % idle, 11 % loaded a step."""
    records = [*tiny.message(1, first=True), *tiny.message(2, at_ms=1000)]
    trial = tiny.trial(records, index=index)
    trial.meta |= {
        "flow_consuming_ns": T - 2 * S, "load_start_ns": T, "load_end_ns": T + 4 * S,
        "flow_stop_ns": T + 6 * S,
    }  # fmt: skip
    for instance in trial.meta["instances"]:
        instance["memory_peak_bytes"] = 30_000_000
    cpu_s = {-2: 0.0, 0: 0.02, 4: 0.46, 6: 0.48}
    trial.resources = samples([
        (step, T + at * S, round(cpu * S), 20_000_000)
        for step in range(3) for at, cpu in cpu_s.items()
    ])  # fmt: skip
    return trial


def cell_of(root: Path, scenario: str = "realtime") -> Cell:
    """The first cell of a stored run's scenario."""
    return gather(read_run(root)).cells[scenario][0]


def means(costs: resources.Costs) -> Json:
    """Mean of each cost."""
    return {kind: float(found.values.mean()) for kind, found in costs.items() if found.count}


def test_realtime_cost_per_message(tmp_path: Path) -> None:
    """Costs are those of all containers while the load ran, shared by its messages."""
    costs = resources.per_message(cell_of(tiny.run(tmp_path, [realtime_trial(1)])))
    assert costs is not None
    # 3 containers x 4 s / 2 messages; 0.44 CPU-s a step; 20 MB a step.
    assert means(costs) == pytest.approx({
        "container_seconds": 6.0, "cpu_seconds": 0.66, "mb_seconds": 120.0, "memory_peak_mb": 30.0,
    })  # fmt: skip


def test_realtime_idle_cost(tmp_path: Path) -> None:
    """The idle cost of a second is measured where no load ran."""
    idle = resources.idle_per_second(cell_of(tiny.run(tmp_path, [realtime_trial(1)])))
    assert means(idle) == pytest.approx(
        {"container_seconds": 3.0, "cpu_seconds": 0.03, "mb_seconds": 60.0}, rel=0.01
    )


def test_cost_at_another_rate(tmp_path: Path) -> None:
    """At one message a minute, each bears a minute of idle cost, and its own work."""
    cell = cell_of(tiny.run(tmp_path, [realtime_trial(1)]))
    costs, work = resources.per_message_at(cell, 1 / 60)
    # Work: 0.66 CPU-s a message under load, less 2 s of idle CPU.
    assert means(work)["cpu_seconds"] == pytest.approx(0.60, rel=0.01)
    assert means(costs) == pytest.approx(
        {"container_seconds": 180.0, "cpu_seconds": 0.60 + 1.8, "mb_seconds": 3600.0},
        rel=0.01,
    )


def test_without_idle_time_cpu_is_a_lower_bound(tmp_path: Path) -> None:
    """Where the flow was never watched without load, only the CPU under load is counted."""
    trial = realtime_trial(1)
    trial.meta |= {"flow_consuming_ns": T, "flow_stop_ns": T + 4 * S}
    costs, _ = resources.per_message_at(cell_of(tiny.run(tmp_path, [trial])), 1 / 60)
    assert means(costs)["cpu_seconds"] == pytest.approx(0.66)


def test_missing_samples_are_not_zero(tmp_path: Path) -> None:
    """A step without samples leaves CPU and memory unknown, and container-seconds known."""
    trial = realtime_trial(1)
    kept = trial.resources["instance"] != 1
    trial.resources = {name: column[kept] for name, column in trial.resources.items()}
    costs = resources.per_message(cell_of(tiny.run(tmp_path, [trial])))
    assert costs is not None
    assert {"container_seconds", "memory_peak_mb"} == set(means(costs))


def test_broker_and_load_are_not_the_flow(tmp_path: Path) -> None:
    """Samples of the broker, the load and the services are no cost of the flow."""
    trial = realtime_trial(1)
    extra = samples([(-1, T, 0, 10**9), (-1, T + 6 * S, 5 * S, 10**9), (-2, T, 0, 10**9)])
    trial.resources = {
        name: np.concatenate([column, extra[name]]) for name, column in trial.resources.items()
    }
    costs = resources.per_message(cell_of(tiny.run(tmp_path, [trial])))
    assert costs is not None
    assert means(costs)["cpu_seconds"] == pytest.approx(0.66)


def test_ordinary_cost_per_execution(tmp_path: Path) -> None:
    """An execution costs the lives of its containers, their last CPU count and their memory."""
    plan = Plan("ordinary", "O", "ordinary", rate_hz=0.5, messages=2, starts=1)
    trial = make_trial(plan, None, index=1, at_ns=T, rng=np.random.default_rng(1))
    records = []
    for index, instance in enumerate(trial.meta["instances"]):
        born = T + index * S
        instance |= {"engine_start_ns": born, "engine_die_ns": born + S // 2}
        records += [(index, born + S // 4, S // 10, 40_000_000)]
    trial.resources = samples(records)
    root = store(tmp_path, describe((plan,), [trial]), [trial])
    costs = resources.per_message(cell_of(root, "ordinary"))
    assert costs is not None
    assert costs["container_seconds"].starts == 2
    found = means(costs)
    found.pop("memory_peak_mb")
    assert found == pytest.approx(
        {"container_seconds": 1.5, "cpu_seconds": 0.3, "mb_seconds": 60.0}
    )
