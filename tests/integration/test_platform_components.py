"""D6, D7: the catalogue's components as steps of the platform's flows, on both brokers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from runtime.broker import Message, connect
from runtime.broker.nats_server import NatsServer
from runtime.broker.node import RabbitNode
from runtime.errors import DefinitionError, HopbenchError
from runtime.launch.broker_container import start_broker
from runtime.launch.docker import DockerLauncher
from runtime.launch.process import ProcessLauncher
from runtime.message import Ids, encode_body, encode_headers
from scenarios.files import COMPONENTS
from tests.fakes.platforms import World, wait_for

RUN = "test-platform-components"
SOURCE = {"step": "source=source", "function": "tick"}
WRITE = "import json; open(cfg['to'], 'a').write(json.dumps(msg['body']) + '\\n')"


@pytest.fixture(
    scope="module", params=[pytest.param("rabbitmq", marks=pytest.mark.rabbitmq), "nats"]
)
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A broker's URL."""
    kind = RabbitNode if request.param == "rabbitmq" else NatsServer
    with kind.start(RUN, tmp_path_factory.mktemp("broker")) as server:
        yield server.url


@pytest.fixture
def world(url: str, tmp_path: Path) -> Iterator[World]:
    """A platform that has the catalogue's components, and one that writes down what it is told."""
    launcher = ProcessLauncher(RUN)
    opened = World(tmp_path / "world", launcher, url)
    deploy(opened)
    opened.component("write", WRITE)
    yield opened
    opened.close()
    launcher.close()


def deploy(world: World) -> None:
    """Bring the catalogue's components to a platform."""
    for root in sorted(filter(Path.is_dir, COMPONENTS.iterdir())):
        world.platform.deploy(root)


def send(world: World, flow: str, *bodies: Any) -> None:
    """Messages with these bodies; their traces are their numbers from 1."""
    route = world.platform.entry_route(flow)
    with closing(connect(world.url, name="test")) as broker:
        for number, body in enumerate(bodies, start=1):
            headers = encode_headers(Ids(number, 1000 + number, 0), {})
            broker.publish(route, Message(encode_body({"body": body}), headers))
        assert broker.settle(30.0)


def lines(path: Path) -> list[str]:
    """What has been written down."""
    return path.read_text().splitlines() if path.exists() else []


def mapper(expression: str) -> dict[str, Any]:
    """The mapper as a step."""
    return {"step": "mapper=mapper", "function": "map", "config": {"expression": expression}}


@pytest.mark.requirement("D6")
def test_a_mapper_maps_one_message_to_one(world: World, tmp_path: Path) -> None:
    """D6: a step of its own; what cannot be evaluated is an error with its message, and retried."""
    told = {"step": "write=write", "config": {"to": str(tmp_path / "heard")}}
    world.publish("flow", SOURCE, mapper('{"double": n * 2}'), told)
    world.platform.start("flow")
    assert len(world.containers("flow")) == 3
    send(world, "flow", {"n": 1}, {"n": "x"}, {"n": 3})
    wait_for(lambda: len(lines(tmp_path / "heard")) == 2)
    wait_for(lambda: len(world.platform.errors("flow")) == 1)
    assert lines(tmp_path / "heard") == ['{"double": 2}', '{"double": 6}']
    (error,) = world.platform.errors("flow")
    assert error.step == "mapper"
    assert "left side" in error.error
    assert world.failed("flow") == [2]
    # The next version knows what to do with it.
    world.publish("flow", SOURCE, mapper('{"double": $string(n) & $string(n)}'), told)
    assert world.platform.retry("flow") == 1
    wait_for(lambda: lines(tmp_path / "heard")[2:] == ['{"double": "xx"}'])
    assert world.platform.errors("flow") == ()


@pytest.mark.requirement("D6", "D7")
@pytest.mark.parametrize(
    ("steps", "problem"),
    [
        ((SOURCE, mapper("{")), "steps[1].config.expression: not JSONata"),
        ((mapper('{"n": n}'), SOURCE), "the first step is the trigger, the others are actions"),
        ((SOURCE, {**SOURCE, "step": "b=source"}), "the first step is the trigger"),
        ((SOURCE, {**SOURCE, "step": "source=mapper", "function": "map"}), "source"),
    ],
)
def test_what_is_no_flow_leaves_no_draft(
    world: World, steps: tuple[dict[str, Any], ...], problem: str
) -> None:
    """D6, D7: one trigger first, actions after it, expressions that parse; nothing half done."""
    with pytest.raises(DefinitionError) as caught:
        world.draft("flow", *steps)
    assert any(problem in one for one in caught.value.problems)
    assert world.platform.statuses() == ()


@pytest.mark.requirement("D7")
def test_a_wrong_cron_line_leaves_no_draft(world: World) -> None:
    """What is wrong with the line, and how one is written."""
    trigger = {"kind": "cron", "schedule": "61 * * * *"}
    with pytest.raises(
        DefinitionError, match=r"trigger.schedule: '61 \* \* \* \*' is no cron line"
    ):
        world.draft("flow", SOURCE, mapper('{"n": n}'), trigger=trigger)
    assert world.platform.statuses() == ()


@pytest.mark.parametrize("text", [None, "{", '{"triggers": {"go": {"main": "gone.py"}}}'])
def test_what_is_no_component_is_not_kept(world: World, tmp_path: Path, text: str | None) -> None:
    """A manifest that is missing, no JSON, or names a file that is not there: no revision."""
    folder = tmp_path / "broken"
    folder.mkdir()
    if text is not None:
        (folder / "component.json").write_text(text)
    before = world.store.revisions.components()
    with pytest.raises(HopbenchError) as caught:
        world.platform.deploy(folder)
    assert "broken" in str(caught.value)
    assert world.store.revisions.components() == before


def test_a_batch_goes_through_a_whole_flow(world: World, tmp_path: Path) -> None:
    """Split, filtered, collected: of two batches of five rows, those over a limit come as one."""
    limit = {"expression": "$number(rows[0].n) > 2"}
    world.publish(
        "flow",
        {"step": "a=webhook", "function": "receive"},
        {"step": "b=splitter", "function": "split"},
        {"step": "c=router", "function": "filter", "config": limit},
        {"step": "d=aggregator", "function": "collect", "config": {"size": 6}},
        {**mapper('{"sum": $sum(bodies.rows.$number(n)), "count": count}'), "step": "e=mapper"},
        {"step": "f=write", "config": {"to": str(tmp_path / "heard")}},
    )
    world.platform.start("flow")
    batch = {"csv": "n\n1\n2\n3\n4\n5\n"}
    send(world, "flow", batch)
    # Half of it is in the aggregator's snapshot, and stays there while the flow is suspended.
    wait_for(lambda: len(world.handled("flow", "d")) == 3)
    world.platform.suspend("flow")
    world.platform.resume("flow")
    send(world, "flow", batch)
    wait_for(lambda: lines(tmp_path / "heard") == ['{"sum": 24, "count": 6}'])
    assert world.platform.errors("flow") == ()


@pytest.mark.docker
def test_the_components_run_in_containers(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Called by a clock, on docker: each finds in its image what it imports, and passes on."""
    folder = tmp_path_factory.mktemp("world")
    for parent in (folder, *folder.parents[:2]):
        parent.chmod(0o755)
    launcher = DockerLauncher(RUN)
    try:
        broker = start_broker(launcher)
        world = World(folder / "world", launcher, broker.url_host, broker.url_inside)
        try:
            _run_in_containers(world)
        finally:
            world.close()
            broker.stop()
    finally:
        launcher.close()


def _run_in_containers(world: World) -> None:
    deploy(world)
    passes = {"expression": "sequence > 0"}
    csv = {"expression": '{"csv": "n\\n" & sequence & "\\n"}'}
    world.publish(
        "flow",
        {"step": "a=timer", "function": "tick"},
        {"step": "b=router", "function": "filter", "config": passes},
        {"step": "c=busy", "function": "work", "config": {"cpu_ms": 1}},
        {"step": "d=memory-hog", "function": "take", "config": {"bytes": 1000}},
        {"step": "e=revision", "function": "stamp"},
        {**mapper(csv["expression"]), "step": "f=mapper"},
        {"step": "g=splitter", "function": "split"},
        {"step": "h=aggregator", "function": "collect", "config": {"size": 2}},
        trigger={"kind": "interval", "every": "200 ms"},
    )
    world.platform.start("flow")
    wait_for(lambda: len(world.handled("flow", "h")) >= 4)
    world.platform.stop("flow")
    assert world.platform.errors("flow") == ()
