"""A platform that is killed: the next one on its store says so, and has lost no message."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from runtime.broker import connect
from runtime.broker.nats_server import NatsServer
from runtime.broker.node import RabbitNode
from runtime.control import recovery
from runtime.control.plan import outline
from runtime.errors import BrokerError
from runtime.launch.process import ProcessLauncher
from runtime.model import FlowState, FlowType
from runtime.store.actions import Outcome
from tests.fakes.platforms import World, wait_for

ROOT = Path(__file__).parents[2]
RUN = "test-platform-crash"
CHILD = """
import os, signal, sys
from pathlib import Path
from runtime.launch.process import ProcessLauncher
from runtime.modes import Deployment
from runtime.platform import Platform
from tests.fakes.platforms import PAUSE, World

folder, url, kind, cut_short = sys.argv[1:]
world = World(Path(folder), ProcessLauncher("test-platform-crash"), url)
world.component("pause", PAUSE)
world.publish("flow", {"step": "a=pause", "config": {"sleep_s": 60}}, "b=pause", kind=kind)
world.platform.start("flow")
print(*world.send("flow", 3), flush=True)
if cut_short == "suspended":
    world.platform.suspend("flow")
elif cut_short == "stopping":
    world.store.flows.set_state = lambda *a, **k: os.kill(os.getpid(), signal.SIGKILL)
    world.platform.stop("flow")
elif cut_short == "clearing":
    Deployment.remove = lambda _: os.kill(os.getpid(), signal.SIGKILL)
    world.platform.stop("flow")
    world.platform.history("flow")
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture(
    scope="module", params=[pytest.param("rabbitmq", marks=pytest.mark.rabbitmq), "nats"]
)
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A broker that outlives the platform."""
    kind = RabbitNode if request.param == "rabbitmq" else NatsServer
    server = kind.start(RUN, tmp_path_factory.mktemp("broker"))
    yield server.url
    server.stop()


@pytest.mark.parametrize(
    ("kind", "ended"),
    [
        ("realtime", "running"),
        ("realtime", "suspended"),
        ("realtime", "stopping"),
        ("realtime", "clearing"),
        ("ordinary", "running"),
    ],
)
def test_a_killed_platform_is_put_in_order(url: str, tmp_path: Path, kind: str, ended: str) -> None:
    """The flow is stopped with the reason, no step lives, its queues are gone, no message is lost.

    All of that also where it was killed in the middle of an operation, which then is interrupted.
    """
    folder = tmp_path / "world"
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(folder), url, kind, ended],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    assert child.stdin is not None
    sent = [int(one) for one in child.stdout.readline().split()]
    is_cut_short = ended in {"stopping", "clearing"}
    if not is_cut_short:
        assert child.stdout.readline() == "ready\n"
        if (kind, ended) == ("ordinary", "running"):
            wait_for(lambda: list((folder / "runs" / "flow").glob("*/flow-a-1/spans.spool")))
        child.kill()
    assert child.wait() == -9
    child.stdin.close()
    child.stdout.close()
    launcher = ProcessLauncher(RUN)
    world = World(folder, launcher, url)
    try:
        entry = world.platform.status("flow").entry
        assert (entry.state, entry.running) == (FlowState.STOPPED, None)
        said = recovery.CLEARING if ended == "clearing" else recovery.REASON
        assert (entry.reason or "").startswith(said)
        assert "3 messages that waited are among its errors" in (entry.reason or "")
        assert world.failed("flow") == sent
        assert any(said.startswith("flow flow: ") for said in world.platform.recovered)
        outcomes = {one.operation: one.outcome for one in world.platform.history("flow")}
        assert outcomes.get("stop") == (Outcome.INTERRUPTED if is_cut_short else None)
        assert _processes_of(folder) == []
        plan = outline(world.store, FlowType(kind), world.store.flows.version("flow", 1))
        broker = connect(url, name="test")
        with pytest.raises(BrokerError):
            broker.depth(plan.wiring.queues[0])
        broker.close()
        world.component("pause", "return {'body': msg['body']}")
        world.publish("flow", "a=pause", "b=pause", kind=kind)
        world.platform.start("flow")
        assert world.platform.retry("flow") == 3
        wait_for(lambda: world.handled("flow", "b") == sent)
    finally:
        world.close()
        launcher.close()


def _processes_of(folder: Path) -> list[int]:
    """Steps that write their spans below a folder."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("HOPBENCH_SPOOL", "").startswith(str(folder)):
                found.append(process.pid)
        except psutil.Error:
            continue
    return found
