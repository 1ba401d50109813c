"""What `flow serve` accepted is not lost with the broker that it started, however either ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from bench.flow.client import Client
from runtime.errors import HopbenchError
from runtime.launch.engine import connect
from runtime.message import decode_body
from runtime.store import Store

ROOT = Path(__file__).parents[2]
FLOW, ACCEPTED = "kept", 30
START_S, END_S, LOOK_S = 90.0, 60.0, 30.0
SLOW = "import time\n\n\ndef process(msg, cfg, snapshot, context):\n    time.sleep(600)\n"
NATS = ("--launcher", "process", "--broker", "nats")
NODE = ("--launcher", "process", "--broker", "rabbitmq")
CONTAINER = ("--launcher", "docker", "--broker", "rabbitmq")


@contextmanager
def served(store: Path, options: tuple[str, ...]) -> Iterator[subprocess.Popen[bytes]]:
    """A platform on a store; told to stop at the end, as by Ctrl-C, unless it has ended."""
    log = store.with_suffix(".log")
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "bench", "flow", "serve", "--store", str(store), *options],
            cwd=ROOT,
            stderr=output,
        )
    try:
        wait_for(
            lambda: "serving" in log.read_text() or process.poll() is not None, timeout_s=START_S
        )
        assert process.poll() is None, log.read_text()
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        process.wait(END_S)


def wait_for(what: Callable[[], object], *, timeout_s: float = LOOK_S) -> None:
    """Return when something has become true; fail when it does not."""
    deadline = time.monotonic() + timeout_s
    while not what():
        assert time.monotonic() < deadline, "it has not become true in time"
        time.sleep(0.05)


def accept(store: Path, tmp_path: Path) -> Client:
    """Start a flow whose second step never ends with a message, and have its webhook take some."""
    slow = tmp_path / "slow"
    slow.mkdir()
    (slow / "slow.py").write_text(SLOW)
    action = {"main": "slow.py"}
    (slow / "component.json").write_text(json.dumps({"title": "Slow", "actions": {"do": action}}))
    client = Client(store)
    for folder in (ROOT / "scenarios" / "components" / "webhook", slow):
        client.post("v1", "components", document={"folder": str(folder)})
    steps = [
        {"id": "in", "component": "webhook", "function": "receive"},
        {"id": "slow", "component": "slow", "function": "do"},
    ]
    document = {"trigger": {"kind": "webhook"}, "steps": steps}
    client.put("v1", "flows", FLOW, "draft", document=document, type="realtime")
    client.post("v1", "flows", FLOW, "publish")
    client.post("v1", "flows", FLOW, "start")
    for number in range(ACCEPTED):
        client.post("hook", FLOW, document={"number": number})
    return client


def kept(store: Path) -> set[int]:
    """The numbers of the messages among the flow's errors. The platform has ended."""
    with Store.open(store) as opened:
        found = set()
        for entry in opened.failures.entries(FLOW):
            cause = opened.failures.cause(FLOW, entry.id)
            assert cause is not None
            found.add(decode_body(b64decode(cause["body"]))["body"]["number"])
    return found


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    "options",
    [
        pytest.param(NATS, id="nats"),
        pytest.param(NODE, id="rabbitmq", marks=pytest.mark.rabbitmq),
        pytest.param(CONTAINER, id="container", marks=pytest.mark.docker),
    ],
)
def test_a_killed_platform_has_lost_nothing(tmp_path: Path, options: tuple[str, ...]) -> None:
    """After SIGKILL the next platform lists every accepted message, and nothing else is left."""
    store = tmp_path / "platform"
    with served(store, options) as process:
        accept(store, tmp_path)
        process.kill()
        process.wait(END_S)
    assert (store / "broker").is_dir()
    with served(store, options):
        (flow,) = Client(store).get("v1", "flows")
        assert flow["state"] == "stopped"
        assert "messages that waited are among its errors" in flow["reason"]
        assert len(Client(store).get("v1", "flows", FLOW, "errors")) >= ACCEPTED
        if options is CONTAINER:
            assert len(containers(store)) == 1
    assert kept(store) == set(range(ACCEPTED))
    assert not (store / "broker").exists()
    if options is CONTAINER:
        wait_for(lambda: not containers(store))


@pytest.mark.timeout(180)
def test_what_was_suspended_outlives_the_end(tmp_path: Path) -> None:
    """A platform that ends in order has what a suspended flow kept among the flow's errors."""
    store = tmp_path / "platform"
    with served(store, NATS) as process:
        accept(store, tmp_path).post("v1", "flows", FLOW, "suspend")
    assert process.returncode == 0
    assert not (store / "broker").exists()
    assert kept(store) == set(range(ACCEPTED))
    with served(store, NATS):
        client = Client(store)
        client.post("v1", "flows", FLOW, "start")
        assert client.post("v1", "flows", FLOW, "errors", "retry")["retried"] >= ACCEPTED


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    ("options", "program"),
    [
        pytest.param(NATS, "nats-server", id="nats"),
        pytest.param(NODE, "beam.smp", id="rabbitmq", marks=pytest.mark.rabbitmq),
        pytest.param(CONTAINER, "", id="container", marks=pytest.mark.docker),
    ],
)
def test_a_broker_that_dies_has_lost_nothing(
    tmp_path: Path, options: tuple[str, ...], program: str
) -> None:
    """Operations say to serve anew; who does, with whatever end, has every accepted message."""
    store = tmp_path / "platform"
    with served(store, options) as process:
        client = accept(store, tmp_path)
        for each in psutil.Process(process.pid).children(recursive=True):
            if each.name() == program:
                each.kill()
        for container in containers(store):
            kill(container)
        wait_for(lambda: client.get("v1", "flows", FLOW)["state"] == "stopped")
        with pytest.raises(HopbenchError, match="broker that this platform had started has ended"):
            client.post("v1", "flows", FLOW, "start")
        reason = client.get("v1", "flows", FLOW)["reason"]
        assert "End `flow serve` and start it again" in reason
    assert (store / "broker").is_dir()
    with served(store, options):
        pass
    assert kept(store) == set(range(ACCEPTED))
    assert not (store / "broker").exists()


@pytest.mark.timeout(120)
def test_another_broker_does_not_pass_over_what_waits(tmp_path: Path) -> None:
    """A platform whose broker cannot read the data says so, and leaves it to one that can."""
    store = tmp_path / "platform"
    with served(store, NATS) as process:
        process.kill()
        process.wait(END_S)
    command = [sys.executable, "-m", "bench", "flow", "serve", "--store", str(store)]
    done = subprocess.run(
        [*command, "--launcher", "process", "--broker", "nats://127.0.0.1:1"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "in the data of nats, process" in done.stderr
    assert (store / "broker" / "broker.json").stat().st_mode & 0o777 == 0o600
    assert os.listdir(store / "broker" / "data")
    with served(store, NATS):
        pass
    assert not (store / "broker").exists()


def kill(container: str) -> None:
    """End a container as a crash of its program does."""
    client = connect()
    try:
        client.kill(container)
    finally:
        client.close()


def containers(store: Path) -> list[str]:
    """The containers that have the data of this store's broker."""
    client = connect()
    try:
        found = client.containers(all=True)
    finally:
        client.close()
    source = str(store.resolve() / "broker" / "data")
    return [one["Id"] for one in found if source in {mount["Source"] for mount in one["Mounts"]}]
