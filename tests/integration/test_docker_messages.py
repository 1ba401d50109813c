"""Hooks, snapshots and limits of real containers: what passes between a step and who starts it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.choice import choose
from bench.stage import Stage, open_stage
from runtime.broker import Message
from runtime.components import load_component, revision
from runtime.errors import StepExited
from runtime.message import Ids, encode_body, encode_headers
from runtime.model import Flow, Limits, Step
from runtime.modes import Deployment
from runtime.modes.realtime import RealtimeFlow
from runtime.retry import read_snapshot
from tests.fakes.line import MANIFEST, wait_for

pytestmark = pytest.mark.docker
ROOT = Path(__file__).resolve().parents[2]
COUNTS = """
def process(msg, cfg, snapshot, context):
    context.emit("updateSnapshot", {"count": snapshot.get("count", 0) + 1})
"""
HANGS = """
import time
def init(cfg):
    time.sleep(600)
def process(msg, cfg, snapshot):
    pass
"""
HOARDS = """
def process(msg, cfg, snapshot):
    hoard = []
    while True:
        hoard.append(bytearray(1024 * 1024))
"""


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Containers and a RabbitMQ in one."""
    with open_stage(
        run_id="messages",
        choice=choose("docker", "rabbitmq"),
        folder=tmp_path_factory.mktemp("stage"),
        components_root=ROOT / "scenarios" / "components",
    ) as opened:
        yield opened


def deployment(stage: Stage, tmp_path: Path, code: str, name: str) -> Deployment:
    """A flow of one step with this code, which counts on from 41 where it counts."""
    root = tmp_path / "component"
    root.mkdir()
    (root / "component.json").write_text(MANIFEST)
    (root / "main.py").write_text(code)
    tmp_path.chmod(0o755)
    made = revision(load_component(root))
    one = Deployment(
        flow=Flow(name, (Step("only", "component", "tick", limits=Limits(64 * 2**20)),)),
        revisions=(made,),
        images=(stage.launcher.prepare(made),),
        launcher=stage.launcher,
        broker=stage.broker,
        broker_url_inside=stage.place.url_inside,
        folder=tmp_path / "spools",
        name=f"{stage.run_id}-{name}",
        environment={"HOPBENCH_HOOK_TIMEOUT_S": "1"},
        snapshots=lambda _step: {"count": 41},
    )
    one.declare()
    return one


def send(stage: Stage, one: Deployment) -> None:
    """One message to the flow."""
    message = Message(encode_body({"body": {}}), encode_headers(Ids(1, 1, 0), {}))
    stage.broker.publish(one.wiring.entry, message)
    assert stage.broker.settle(20.0)


@pytest.mark.requirement("D13")
def test_d13_a_container_is_given_its_snapshot(stage: Stage, tmp_path: Path) -> None:
    """The platform's snapshot is what process sees; the new one comes back over the queue."""
    one = deployment(stage, tmp_path, COUNTS, "counts")
    with RealtimeFlow(one) as flow:
        flow.start(timeout_s=60.0)
        send(stage, one)
        queue = one.wiring.snapshot_queue
        wait_for(lambda: stage.broker.depth(queue).ready == 1, "a snapshot")
    found = stage.broker.get(queue)
    assert found is not None
    assert read_snapshot(found.message) == ("only", {"count": 42})
    one.remove()


@pytest.mark.requirement("D16")
def test_d16_a_hook_that_hangs_is_named_by_who_started_it(stage: Stage, tmp_path: Path) -> None:
    """Starting the flow fails with the step, the hook and its limit; no container is left."""
    one = deployment(stage, tmp_path, HANGS, "hangs")
    flow = RealtimeFlow(one)
    with pytest.raises(StepExited, match=r"'only'.*exit code 6.*init hook has not returned"):
        flow.start(timeout_s=60.0)
    assert flow.alive() == ()
    one.remove()


@pytest.mark.requirement("D10")
def test_d10_out_of_memory_is_named_with_its_step_and_limit(stage: Stage, tmp_path: Path) -> None:
    """A container over its limit: its step, out of memory, and how much it was allowed."""
    one = deployment(stage, tmp_path, HOARDS, "hoards")
    with RealtimeFlow(one) as flow:
        flow.start(timeout_s=60.0)
        send(stage, one)
        deadline_s = time.monotonic() + 60.0

        def watch() -> None:
            while time.monotonic() < deadline_s:
                flow.check()
                time.sleep(0.05)

        with pytest.raises(StepExited, match=r"'only'.*out of memory \(limit 64 MiB\)"):
            watch()
    assert stage.broker.depth(one.wiring.queues[0]).ready == 1
    one.remove()
