"""What a run does when something goes wrong: a clear error, what was measured kept, nothing left.

On processes and the embedded NATS server, which every machine has.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from pyarrow import parquet

from bench.session import Progress, run
from runtime.broker.nats import NatsBroker
from runtime.errors import DataError, HopbenchError, InputError, LaunchError
from runtime.model import FlowType
from scenarios.model import Profile
from tests.fakes.runs import QUIET, ask, healthy, reasons, small_scenario, stored_trial

ROOT = Path(__file__).parents[2]


def _left_behind(run_id: str) -> list[psutil.Process]:
    left = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("HOPBENCH_RUN") == run_id:
                left.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
    return left


def _assert_clean(folder: Path) -> None:
    document = json.loads((folder / "run.json").read_text())
    assert _left_behind(document["run_id"]) == []
    assert not (folder / "work").exists()


def test_a_healthy_run_is_valid_and_complete(tmp_path: Path) -> None:
    """Every message is handled, every span is there, and nothing is left running."""
    result = run(ask(tmp_path / "run", healthy(tmp_path)), QUIET)
    trial = stored_trial(result)
    assert (result.status, reasons(trial)) == ("complete", [])
    assert trial["accounting"]["handled"] == trial["accounting"]["sent"] == 5
    spans = parquet.read_table(tmp_path / "run" / "trials" / "0001" / "spans.parquet")
    kinds = spans["kind"].to_pylist()
    assert (kinds.count(1), kinds.count(2), kinds.count(3)) == (5, 10, 15)
    assert all(exit_["exit_code"] == 0 for exit_ in trial["instances"])
    _assert_clean(tmp_path / "run")


def test_an_ordinary_run_starts_one_step_at_a_time(tmp_path: Path) -> None:
    """In an ordinary flow at most one step runs at any instant, first to last."""
    scenario = replace(healthy(tmp_path, messages=2), flow_type=FlowType.ORDINARY)
    result = run(ask(tmp_path / "run", scenario), QUIET)
    trial = stored_trial(result)
    assert reasons(trial) == []
    alive = most = 0
    order = []
    for event in trial["engine_events"]:
        if event["action"] == "start":
            alive += 1
            order.append(event["step"])
        elif event["action"] == "die":
            alive -= 1
        most = max(most, alive)
    assert (most, order) == (1, [0, 1, 2, 0, 1, 2])
    _assert_clean(tmp_path / "run")


@pytest.mark.parametrize(
    ("component", "status", "says", "counted"),
    [
        ("raises", "invalid", "5 messages failed", {"failed": 5, "lost": 0}),
        ("exits", "failed", "exit code 3", {"handled": 0}),
        ("hangs", "failed", "still under way", {"lost": 5}),
        ("silent", "invalid", "ended before the last step", {"handled": 5, "ended_early": 5}),
        ("oversize", "invalid", "over the limit of 10485760", {"failed": 5, "lost": 0}),
    ],
)
def test_a_component_that_misbehaves(
    tmp_path: Path, component: str, status: str, says: str, counted: dict[str, int]
) -> None:
    """Each kind of misbehaviour is named, counted, and does not spoil the trials beside it."""
    broken = small_scenario(tmp_path, component)
    sound = replace(healthy(tmp_path), name="healthy")
    result = run(ask(tmp_path / "run", broken, sound), QUIET)
    trials = {
        stored_trial(result, index)["scenario"]: stored_trial(result, index) for index in (1, 2)
    }
    trial = trials["broken"]
    assert trial["status"] == status, trial["reasons"]
    assert says in "; ".join(trial["reasons"])
    assert {name: trial["accounting"][name] for name in counted} == counted
    assert reasons(trials["healthy"]) == []
    assert result.status == "complete"
    assert says in "; ".join(result.problems)
    _assert_clean(tmp_path / "run")


@pytest.mark.parametrize("broker", [pytest.param("rabbitmq", marks=pytest.mark.rabbitmq), "nats"])
def test_a_schedule_ends_with_its_trial(tmp_path: Path, broker: str) -> None:
    """A trial that fails early takes its load with it: the trials after it are whole."""
    late = {"quick": Profile(starts=1, messages=500)}
    broken = replace(small_scenario(tmp_path, "exits"), profiles=late)
    sound = replace(
        healthy(tmp_path), name="healthy", profiles={"quick": Profile(starts=2, messages=5)}
    )
    # The seed puts the broken one first.
    result = run(replace(ask(tmp_path / "run", broken, sound, broker=broker), seed=5), QUIET)
    trials = [stored_trial(result, index) for index in (1, 2, 3)]
    assert [trial["scenario"] for trial in trials] == ["broken", "healthy", "healthy"]
    assert trials[0]["status"] == "failed"
    assert trials[0]["accounting"]["sent"] < 250
    assert [reasons(trial) for trial in trials[1:]] == [[], []]
    _assert_clean(tmp_path / "run")


def test_errors_name_the_step_and_the_message(tmp_path: Path) -> None:
    """What a component raised is kept with its step and the execution it belongs to."""
    result = run(ask(tmp_path / "run", small_scenario(tmp_path, "raises")), QUIET)
    errors = stored_trial(result)["errors"]
    assert [error["step"] for error in errors] == ["middle"] * 5
    assert sorted(error["trace"] for error in errors) == [1, 2, 3, 4, 5]
    assert all("Error" in error["error"] for error in errors)


@pytest.mark.parametrize("component", ["raises", "silent", "exits"])
def test_an_ordinary_flow_with_a_component_that_misbehaves(tmp_path: Path, component: str) -> None:
    """The ordinary mode ends such an execution too, without waiting for steps that never come."""
    scenario = replace(small_scenario(tmp_path, component), flow_type=FlowType.ORDINARY)
    result = run(ask(tmp_path / "run", scenario), QUIET)
    trial = stored_trial(result)
    assert trial["status"] in {"invalid", "failed"}
    assert all(instance["step"] < 2 for instance in trial["instances"])
    _assert_clean(tmp_path / "run")


def test_a_broker_that_dies_keeps_what_was_measured(tmp_path: Path) -> None:
    """The trial before is kept and readable, the run says that the broker went away."""
    scenario = healthy(tmp_path, messages=100, starts=3)
    out = tmp_path / "run"
    killed = threading.Event()

    def kill_broker(done: int, _all: int) -> None:
        if done == 1 and not killed.is_set():
            killed.set()
            run_id = json.loads((out / "run.json").read_text())["run_id"]
            for process in _left_behind(run_id):
                if "nats-server" in process.name():
                    os.kill(process.pid, signal.SIGKILL)

    with pytest.raises(HopbenchError, match=r"(?i)nats|broker"):
        run(ask(out, scenario), Progress(phase=lambda _: None, step=kill_broker))
    assert killed.is_set()
    document = json.loads((out / "run.json").read_text())
    assert document["status"] == "failed"
    assert document["trials"][0]["status"] in {"valid", "invalid"}
    assert parquet.read_table(out / "trials" / "0001" / "spans.parquet").num_rows > 100
    _assert_clean(out)


def test_what_cannot_be_removed_spoils_no_measurement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A launcher that fails when it is closed is told of; the run is complete all the same."""
    from runtime.launch.process import ProcessLauncher

    real = ProcessLauncher.close

    def close(self: ProcessLauncher) -> None:
        real(self)
        raise LaunchError("the network stays")

    monkeypatch.setattr(ProcessLauncher, "close", close)
    result = run(ask(tmp_path / "run", healthy(tmp_path)), QUIET)
    assert (result.status, result.problems) == ("complete", ())
    assert result.notes == ("not all that was started could be removed: the network stays",)
    request = ask(tmp_path / "other", healthy(tmp_path), broker="nats://127.0.0.1:1")
    with pytest.raises(HopbenchError, match=r"127\.0\.0\.1:1") as caught:
        run(request, QUIET)
    assert "the network stays" in caught.value.__notes__[0]


def test_no_broker_there(tmp_path: Path) -> None:
    """A URL at which nothing listens is named, and nothing is left."""
    request = ask(tmp_path / "run", healthy(tmp_path), broker="nats://127.0.0.1:1")
    with pytest.raises(HopbenchError, match=r"127\.0\.0\.1:1"):
        run(request, QUIET)
    _assert_clean(tmp_path / "run")


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_interrupt_ends_in_order(tmp_path: Path, how: signal.Signals) -> None:
    """Ctrl-C in the middle: what was measured is kept, the status says so, nothing is left."""
    out = tmp_path / "run"
    program = subprocess.Popen(
        [sys.executable, "-m", "bench", "run", "warmup", "--launcher", "process",
         "--broker", "nats", "--out", str(out)],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 120.0
    while not (out / "trials" / "0001" / "trial.json").exists():
        assert program.poll() is None, program.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(0.5)
    program.send_signal(how)
    stdout, stderr = program.communicate(timeout=60.0)
    assert program.returncode == 130, stderr
    assert "Traceback" not in stderr
    assert stdout.strip() == str(out)
    document = json.loads((out / "run.json").read_text())
    assert document["status"] == "interrupted"
    assert len(document["trials"]) >= 1
    _assert_clean(out)


def test_a_full_disk_keeps_what_was_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the run directory's disk is full, the error says so and earlier trials are kept."""
    from bench import rundir

    real = rundir._write_table
    trials = []

    def full(path: Path, columns: Any) -> None:
        trials.append(path)
        if len(trials) > 2:
            raise OSError(28, "No space left on device", str(path))
        real(path, columns)

    monkeypatch.setattr(rundir, "_write_table", full)
    with pytest.raises(DataError, match="No space left on device"):
        run(ask(tmp_path / "run", healthy(tmp_path, starts=3)), QUIET)
    document = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (document["status"], len(document["trials"])) == ("failed", 1)
    _assert_clean(tmp_path / "run")


def test_a_disk_that_is_full_of_spools_is_said_in_run_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the run itself filled is given back before its end is written down; no part is left."""
    out = tmp_path / "run"
    real = json.dump

    def full(document: Any, file: Any, **how: Any) -> None:
        # As on a disk of which the working folder takes the last block.
        if document.get("trials") and (out / "work").exists():
            raise OSError(28, "No space left on device", file.name)
        real(document, file, **how)

    monkeypatch.setattr(json, "dump", full)
    with pytest.raises(DataError, match="No space left on device"):
        run(ask(out, healthy(tmp_path)), QUIET)
    document = json.loads((out / "run.json").read_text())
    assert document["status"] == "failed"
    assert "No space left on device" in document["error"]
    assert list(out.rglob("*.part")) == []
    _assert_clean(out)


def test_a_run_directory_is_never_overwritten(tmp_path: Path) -> None:
    """A folder with something in it is refused before anything is started."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "precious").write_text("x")
    with pytest.raises(InputError, match="not empty"):
        run(ask(tmp_path / "run", healthy(tmp_path)), QUIET)
    assert (tmp_path / "run" / "precious").read_text() == "x"


def test_a_slow_handler_keeps_its_connection(tmp_path: Path) -> None:
    """A process() of several seconds is handled once, not redelivered, and loses no connection."""
    scenario = small_scenario(tmp_path, "slow", config="config.sleep_s = 3.0")
    scenario = replace(
        scenario, profiles={"quick": Profile(starts=1, messages=1)}, drain_timeout_s=10.0
    )
    began = time.monotonic()
    result = run(ask(tmp_path / "run", scenario), QUIET)
    trial = stored_trial(result)
    assert reasons(trial) == []
    assert time.monotonic() - began > 3.0
    assert trial["accounting"]["duplicated"] == 0


@pytest.mark.parametrize("flow_type", [FlowType.REALTIME, FlowType.ORDINARY])
def test_heartbeats_are_answered_while_a_load_lasts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flow_type: FlowType
) -> None:
    """The run's own connection is attended to again and again until all is handled."""
    attended: list[float] = []
    keep_alive = NatsBroker.keep_alive

    def counted(broker: NatsBroker) -> None:
        attended.append(time.monotonic())
        keep_alive(broker)

    monkeypatch.setattr(NatsBroker, "keep_alive", counted)
    scenario = small_scenario(tmp_path, "slow", config="config.sleep_s = 3.0")
    scenario = replace(
        scenario,
        flow_type=flow_type,
        profiles={"quick": Profile(starts=1, messages=1)},
        drain_timeout_s=20.0,
    )
    trial = stored_trial(run(ask(tmp_path / "run", scenario), QUIET))
    assert reasons(trial) == []
    began_s, ended_s = trial["load_start_ns"] / 1e9, trial["flow_stop_ns"] / 1e9
    assert len([at_s for at_s in attended if began_s <= at_s <= ended_s]) >= 2
