"""Loads of real runs: several generators that share a schedule, and a loop that is closed.

On processes and the embedded NATS server, which every machine has; and as containers.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from pyarrow import parquet

from bench.request import Request
from bench.session import Result, run
from runtime.launch import Instance, Spec
from runtime.launch.process import ProcessLauncher
from runtime.spans import FIRST, PROCESS, SEND
from scenarios.model import Arrivals, Loop, Profile, Scenario
from tests.fakes.runs import QUIET, ask, healthy, reasons, small_scenario, stored_trial

Spans = dict[str, npt.NDArray[np.int64]]
CONTAINERS = pytest.param("docker", "rabbitmq", marks=pytest.mark.docker)
RATE_HZ = 200.0


def _with_load(scenario: Scenario, *, messages: int, **load: Any) -> Scenario:
    return replace(
        scenario,
        load=replace(scenario.load, **load),
        profiles={"quick": Profile(starts=1, messages=messages)},
    )


def _spans(result: Result, kind: int) -> Spans:
    """The stored spans of one kind, in order of their executions."""
    table = parquet.read_table(result.folder / "trials" / "0001" / "spans.parquet")
    columns = {name: table[name].to_numpy() for name in table.column_names}
    chosen = columns["kind"] == kind
    order = np.argsort(columns["trace"][chosen], kind="stable")
    return {name: values[chosen][order] for name, values in columns.items()}


def _sends_of(request: Request) -> tuple[dict[str, Any], Spans]:
    result = run(request, QUIET)
    trial = stored_trial(result)
    assert reasons(trial) == []
    return trial, _spans(result, SEND)


@pytest.mark.parametrize(("launcher", "broker"), [("process", "nats"), CONTAINERS])
def test_three_generators_send_what_one_would(tmp_path: Path, launcher: str, broker: str) -> None:
    """The same intended instants and cells, to the nanosecond; no message lost or sent twice."""
    scenario = _with_load(
        healthy(tmp_path), messages=50, rate_hz=RATE_HZ, arrivals=Arrivals.POISSON, processes=3
    )
    scenario = replace(scenario, axes=replace(scenario.axes, payload_bytes=(512, 2048)))
    request = ask(tmp_path / "three", scenario, launcher=launcher, broker=broker)
    trial, sends = _sends_of(request)
    # The seed of a run's only trial, and with it its schedule, follow from the run's own.
    alone = replace(scenario, load=replace(scenario.load, processes=1))
    _, expected = _sends_of(ask(tmp_path / "one", alone, launcher=launcher, broker=broker))
    assert sends["trace"].tolist() == list(range(1, 101))
    assert sends["trace"][sends["flags"] & FIRST != 0].tolist() == [1]
    assert len(set(sends["message"].tolist())) == 100
    for column in ("t0_ns", "aux", "flags"):
        start = sends[column][0] if column == "t0_ns" else 0
        begin = expected[column][0] if column == "t0_ns" else 0
        assert (sends[column] - start).tolist() == (expected[column] - begin).tolist()
    load = trial["load"]
    assert [(one["name"], one["sent"]) for one in load["generators"]] == [
        ("the load generator load-1", 34),
        ("the load generator load-2", 33),
        ("the load generator load-3", 33),
    ]
    lag_ms = (sends["t1_ns"] - sends["t0_ns"]) / 1e6
    assert (load["lag_p99_ms"], load["lag_max_ms"]) == (np.quantile(lag_ms, 0.99), lag_ms.max())
    assert trial["accounting"]["handled"] == 100


def test_as_many_generators_as_the_largest_scenario_needs(tmp_path: Path) -> None:
    """Two scenarios of one and of two generators: the run starts two, and each trial takes its."""
    one = replace(healthy(tmp_path), name="one")
    two = _with_load(replace(one, name="two"), messages=6, processes=2)
    result = run(ask(tmp_path / "run", one, two), QUIET)
    shares = {
        trial["scenario"]: [each["sent"] for each in trial["load"]["generators"]]
        for trial in (stored_trial(result, 1), stored_trial(result, 2))
    }
    assert shares == {"one": [5], "two": [3, 3]}


def test_a_generator_that_dies_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of two is killed in mid-schedule: the trial has failed, and says which one ended."""
    scenario = _with_load(healthy(tmp_path), messages=2000, processes=2)
    started: dict[str, Instance] = {}
    real = ProcessLauncher.start

    def start(self: ProcessLauncher, spec: Spec) -> Instance:
        started[spec.name] = real(self, spec)
        return started[spec.name]

    monkeypatch.setattr(ProcessLauncher, "start", start)
    out = tmp_path / "run"

    def kill() -> None:
        while not list(out.glob("work/load/load-2/*.spool")):
            time.sleep(0.01)
        time.sleep(0.3)
        pid = started["load-2"].pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(Exception, match="the load generator load-2 ended with exit code 137"):
        run(ask(out, scenario), QUIET)
    killer.join()
    trial = stored_trial(Result(out, "failed", (), ()))
    assert trial["status"] == "failed"
    assert any(
        reason.startswith("the load generator load-2: ended with exit code 137")
        for reason in trial["reasons"]
    )
    assert 0 < trial["accounting"]["sent"] < 2000


@pytest.mark.parametrize(("launcher", "broker"), [("process", "nats"), CONTAINERS])
def test_a_closed_loop_waits_for_each_execution(tmp_path: Path, launcher: str, broker: str) -> None:
    """Due every millisecond, sent only when the execution before has ended; late, and valid."""
    scenario = _with_load(healthy(tmp_path), messages=40, rate_hz=1000.0, loop=Loop.CLOSED)
    result = run(ask(tmp_path / "run", scenario, launcher=launcher, broker=broker), QUIET)
    trial = stored_trial(result)
    assert (trial["status"], trial["reasons"]) == ("valid", [])
    sends, handled = _spans(result, SEND), _spans(result, PROCESS)
    ends = np.array([
        handled["t2_ns"][handled["trace"] == trace].max() for trace in sends["trace"]
    ])  # fmt: skip
    assert (sends["t1_ns"][1:] > ends[:-1]).all()
    # The schedule is kept in the records, whatever came of it.
    assert np.diff(sends["t0_ns"]).tolist() == [1_000_000] * 39
    assert trial["load"]["lag_max_ms"] > 0.0


@pytest.mark.parametrize(("component", "handled"), [("raises", 0), ("silent", 5)])
def test_a_closed_loop_goes_on_after_a_failure(
    tmp_path: Path, component: str, handled: int
) -> None:
    """An execution that fails, or that a component ends early, has ended: the next is sent."""
    scenario = _with_load(small_scenario(tmp_path, component), messages=5, loop=Loop.CLOSED)
    trial = stored_trial(run(ask(tmp_path / "run", scenario), QUIET))
    assert trial["status"] == "invalid"
    assert trial["accounting"]["sent"] == 5
    assert trial["accounting"]["handled"] == handled


def test_a_closed_loop_does_not_wait_forever(tmp_path: Path) -> None:
    """A step that hangs: after the time that messages may be under way, the trial has failed."""
    scenario = _with_load(small_scenario(tmp_path, "hangs"), messages=5, loop=Loop.CLOSED)
    began = time.monotonic()
    trial = stored_trial(run(ask(tmp_path / "run", scenario), QUIET))
    assert trial["status"] == "failed"
    assert "an execution has not ended within 2 s" in "; ".join(trial["reasons"])
    assert trial["accounting"]["sent"] == 1
    assert time.monotonic() - began < 60.0
