"""Faults on real parts: bytes held back by the proxy, steps frozen and thawed within a trial."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from pyarrow import parquet

from bench.faults import Freezer
from bench.session import Progress, Result, run
from runtime.errors import LaunchError
from runtime.launch import Instance
from runtime.spans import EMIT, PROCESS
from scenarios.model import Axes, Freeze, NetworkDelay, Profile, Scenario
from tests.fakes.runs import QUIET, ask, healthy, reasons, stored_trial

ROOT = Path(__file__).parents[2]
PROXY = ROOT / "bench" / "bare" / "proxy.py"


class Upstream:
    """A server that keeps what it gets, and answers each connection's end with a word."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.received = b""
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        with self._listener:
            peer, _ = self._listener.accept()
        with peer:
            while data := peer.recv(1 << 16):
                self.received += data
            peer.sendall(b"goodbye")

    def join(self) -> None:
        """Wait until its one connection has ended."""
        self._thread.join(20.0)
        assert not self._thread.is_alive()


@pytest.fixture
def proxied(tmp_path: Path) -> Iterator[tuple[Upstream, int]]:
    """An upstream, and the port of a proxy before it that holds each byte back by 20 ms."""
    upstream = Upstream()
    command = [
        sys.executable, str(PROXY), "127.0.0.1", "127.0.0.1", str(upstream.port), "20",
        str(tmp_path),
    ]  # fmt: skip
    with subprocess.Popen(command) as process:
        ready = tmp_path / "ready.json"
        deadline_s = time.monotonic() + 20
        while not ready.exists():
            assert time.monotonic() < deadline_s
            time.sleep(0.01)
        yield upstream, json.loads(ready.read_text())["port"]
        process.terminate()
        assert process.wait(20.0) == 0


def test_bytes_arrive_whole_in_order_and_not_early(proxied: tuple[Upstream, int]) -> None:
    """Megabytes and the end of each direction pass the proxy, none before its delay."""
    upstream, port = proxied
    sent = os.urandom(3_000_000)
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        before_ns = time.monotonic_ns()
        client.sendall(sent)
        client.shutdown(socket.SHUT_WR)
        answer = b""
        while data := client.recv(100):
            answer += data
        took_ms = (time.monotonic_ns() - before_ns) / 1e6
    upstream.join()
    assert upstream.received == sent
    assert answer == b"goodbye"
    # There and back: a lower bound holds however busy the machine is.
    assert took_ms >= 40.0


def test_a_broker_that_is_not_there_closes_the_connection(tmp_path: Path) -> None:
    """A client of a proxy without an upstream is hung up on, and the proxy says why."""
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    command = [
        sys.executable, str(PROXY), "127.0.0.1", "127.0.0.1", str(port), "0", str(tmp_path),
    ]  # fmt: skip
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        while not (tmp_path / "ready.json").exists():
            time.sleep(0.01)
        own = json.loads((tmp_path / "ready.json").read_text())["port"]
        with socket.create_connection(("127.0.0.1", own), timeout=20) as client:
            assert client.recv(1) == b""
        process.terminate()
        _, said = process.communicate(timeout=20)
    assert f"cannot reach 127.0.0.1:{port}" in said


# The proxy knows brokers by their protocol and steps by their launcher: each of both, once.
PLACES = [
    ("process", "nats"),
    pytest.param("docker", "rabbitmq", marks=pytest.mark.docker),
]


def hops_ms(result: Result, index: int = 1) -> tuple[Any, Any]:
    """Milliseconds of each message's hop into the middle step and out of it."""
    folder = result.folder / "trials" / f"{index:04d}"
    spans = parquet.read_table(folder / "spans.parquet")
    # Not by way of lists: ids of more than 63 bits would become floats, and one id.
    columns = {name: spans[name].to_numpy() for name in spans.column_names}

    def by_message(kind: int, step: int) -> dict[int, int]:
        rows = (columns["kind"] == kind) & (columns["step"] == step)
        return dict(zip(columns["message"][rows], columns["t1_ns"][rows], strict=True))

    found = []
    for step in (1, 2):
        emitted, entered = by_message(EMIT, step - 1), by_message(PROCESS, step)
        assert set(emitted) == set(entered)
        found.append(np.array([(entered[m] - emitted[m]) / 1e6 for m in emitted]))
    return found[0], found[1]


@pytest.mark.parametrize(("launcher", "broker"), PLACES)
def test_network_delay_is_in_both_hops_of_its_step(
    tmp_path: Path, launcher: str, broker: str
) -> None:
    """Every message takes the delay on its way to the step, and again on its way from it."""
    scenario = replace(healthy(tmp_path, messages=8), faults=(NetworkDelay("middle", 30.0),))
    scenario = replace(scenario, load=replace(scenario.load, rate_hz=5.0))
    result = run(ask(tmp_path / "run", scenario, launcher=launcher, broker=broker), QUIET)
    trial = stored_trial(result)
    assert reasons(trial) == []
    for hop in hops_ms(result):
        assert hop.min() >= 30.0
    (fault,) = trial["faults"]
    assert (fault["kind"], fault["step"]) == ("network delay", "middle")
    assert fault["at_ns"] < trial["load_start_ns"] < fault["until_ns"]
    # What the step is connected to is the proxy, which is declared; nothing is unexplained.
    kinds = {(one["step"], one["kind"]) for one in trial["connections"]}
    assert (1, "service") in kinds
    assert (1, "broker") not in kinds
    if launcher == "docker":
        # Processes share their loopback, so that nothing there is known to be a step's own.
        assert {kind for _, kind in kinds} <= {"broker", "service", "self"}


@pytest.mark.parametrize(("launcher", "broker"), PLACES)
def test_messages_of_one_start_are_delayed_as_each_asks(
    tmp_path: Path, launcher: str, broker: str
) -> None:
    """Half of the messages ask for 40 ms, and have them in both hops of the step; not all have."""
    scenario = replace(
        healthy(tmp_path, messages=8),
        faults=(NetworkDelay("middle", None),),
        axes=Axes(network_delay_ms=(0.0, 40.0)),
    )
    scenario = replace(scenario, load=replace(scenario.load, rate_hz=10.0))
    result = run(ask(tmp_path / "run", scenario, launcher=launcher, broker=broker), QUIET)
    trial = stored_trial(result)
    assert reasons(trial) == []
    assert [cell["network_delay_ms"] for cell in trial["message_cells"]] == [0.0, 40.0]
    for hop in hops_ms(result):
        assert hop.size == 16
        assert (hop >= 40.0).sum() >= 8
        assert hop.min() < 40.0


def test_message_that_asks_for_no_delay_makes_the_trial_invalid(tmp_path: Path) -> None:
    """A trial whose messages could not be delayed as asked says so, and which way they went."""
    scenario = replace(healthy(tmp_path, messages=4), faults=(NetworkDelay("middle", None),))
    trial = stored_trial(run(ask(tmp_path / "run", scenario), QUIET))
    assert trial["status"] == "invalid"
    said = "; ".join(trial["reasons"])
    for way in ("to", "from"):
        assert f"the proxy of step middle, {way} the step: a message without the header" in said


def frozen_flow(tmp_path: Path, *, after_s: float = 0.2, for_s: float = 0.8) -> Scenario:
    """Sixty messages at 50 a second, the middle step frozen early among them."""
    scenario = healthy(tmp_path)
    return replace(
        scenario,
        faults=(Freeze("middle", after_s, for_s),),
        profiles={"quick": Profile(starts=1, messages=60)},
    )


@pytest.mark.parametrize(("launcher", "broker"), PLACES)
def test_frozen_step_handles_nothing_and_all_of_it_later(
    tmp_path: Path, launcher: str, broker: str
) -> None:
    """No message enters the frozen step; none is lost, and its container stays."""
    request = ask(tmp_path / "run", frozen_flow(tmp_path), launcher=launcher, broker=broker)
    trial = stored_trial(run(request, QUIET))
    assert reasons(trial) == []
    assert trial["accounting"]["handled"] == 60
    assert trial["alive_before"] == trial["alive_after"]
    (fault,) = trial["faults"]
    assert (fault["kind"], fault["step"]) == ("freeze", "middle")
    assert fault["until_ns"] - fault["at_ns"] >= 0.8e9
    folder = tmp_path / "run" / "trials" / "0001"
    spans = parquet.read_table(folder / "spans.parquet").to_pydict()
    entered = np.array([
        t1
        for kind, step, t1 in zip(spans["kind"], spans["step"], spans["t1_ns"], strict=True)
        if kind == PROCESS and step == 1
    ])  # fmt: skip
    assert len(entered) == 60
    assert not ((entered > fault["at_ns"]) & (entered < fault["until_ns"])).any()
    # A busy engine takes long to freeze: most of the load may have passed by then, not all of it.
    assert (entered > fault["until_ns"]).any()


def test_freeze_that_was_not_due_makes_the_trial_invalid(tmp_path: Path) -> None:
    """A load that ends before its freeze was measured without it, and says so."""
    scenario = frozen_flow(tmp_path, after_s=60.0)
    trial = stored_trial(run(ask(tmp_path / "run", scenario), QUIET))
    assert trial["status"] == "invalid"
    assert "was to be frozen 60 s into the load" in "; ".join(trial["reasons"])
    assert trial["faults"] == []


def test_interrupted_while_frozen_leaves_nothing(tmp_path: Path) -> None:
    """Ctrl-C during a freeze ends the run in order: nothing stays, stopped or not."""
    scenario = frozen_flow(tmp_path, after_s=0.1, for_s=60.0)
    out = tmp_path / "run"

    def interrupt() -> None:
        deadline_s = time.monotonic() + 60
        while time.monotonic() < deadline_s:
            for process in psutil.process_iter():
                try:
                    ours = process.environ().get("HOPBENCH_RUN") == run_id()
                    if ours and process.status() == psutil.STATUS_STOPPED:
                        os.kill(os.getpid(), signal.SIGINT)
                        return
                except (psutil.Error, OSError):
                    continue
            time.sleep(0.05)

    def run_id() -> str:
        path = out / "run.json"
        return str(json.loads(path.read_text())["run_id"]) if path.exists() else "none"

    thread = threading.Thread(target=interrupt)
    thread.start()
    result = run(ask(out, scenario), QUIET)
    thread.join()
    assert result.status == "interrupted"
    left = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("HOPBENCH_RUN") == run_id():
                left.append(process)
        except (psutil.Error, OSError):
            continue
    assert left == []


class Stubborn:
    """An instance that cannot be frozen."""

    def freeze(self) -> None:
        """Refuse."""
        raise LaunchError("the freezer is out of order")

    def thaw(self) -> None:
        """Nothing to thaw."""


def test_freeze_that_fails_is_said() -> None:
    """An engine that refuses to freeze makes no fault, and a problem with its reason."""
    instance: Instance = Stubborn()  # type: ignore[assignment]
    with Freezer((Freeze("middle", 0.0, 1.0),), {"middle": instance}, 0) as freezer:
        for thread in threading.enumerate():
            if thread.name == "freezer":
                thread.join()
    assert freezer.done == []
    assert freezer.problems == [
        "step middle could not be frozen and thawed: the freezer is out of order"
    ]


def test_proxy_that_dies_makes_the_trial_invalid(tmp_path: Path) -> None:
    """Where the proxy is killed the trial is no good, and says what ended."""
    scenario = replace(healthy(tmp_path, messages=200), faults=(NetworkDelay("middle", 1.0),))
    out = tmp_path / "run"
    killed = threading.Event()

    def kill(text: str) -> None:
        if "messages" not in text or killed.is_set():
            return
        for process in psutil.process_iter():
            try:
                if any(str(PROXY) in part for part in process.cmdline()) and str(
                    json.loads((out / "run.json").read_text())["run_id"]
                ) == process.environ().get("HOPBENCH_RUN"):
                    process.kill()
                    killed.set()
            except (psutil.Error, OSError):
                continue

    result = run(ask(out, scenario), Progress(phase=kill, step=lambda _done, _all: None))
    trial = stored_trial(result)
    assert killed.is_set()
    assert trial["status"] != "valid"
    assert "the proxy of step middle ended" in "; ".join(trial["reasons"])
