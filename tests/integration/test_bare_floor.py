"""The bare clients on real brokers: the hop floor, and bare starts."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from bench.floor import HopFloor, bare_start_floor
from runtime.broker.nats_server import NatsServer
from runtime.broker.node import RabbitNode
from runtime.errors import StepExited
from runtime.launch import Launcher
from runtime.launch.process import ProcessLauncher

Place = tuple[Launcher, str]
"""A launcher, and the URL under which its instances reach a broker."""


def processes_and_nats(stack: ExitStack, run_id: str, folder: Path) -> Place:
    """OS processes and the embedded NATS server."""
    launcher = ProcessLauncher(run_id)
    stack.callback(launcher.close)
    return launcher, stack.enter_context(NatsServer.start(run_id, folder)).url


def processes_and_rabbitmq(stack: ExitStack, run_id: str, folder: Path) -> Place:
    """OS processes and a private RabbitMQ node."""
    launcher = ProcessLauncher(run_id)
    stack.callback(launcher.close)
    return launcher, stack.enter_context(RabbitNode.start(run_id, folder)).url


def containers_and_rabbitmq(stack: ExitStack, run_id: str, _folder: Path) -> Place:
    """Containers, RabbitMQ one of them."""
    from runtime.launch.broker_container import start_broker
    from runtime.launch.docker import DockerLauncher

    launcher = DockerLauncher(run_id)
    stack.callback(launcher.close)
    broker = start_broker(launcher)
    stack.callback(broker.stop)
    return launcher, broker.url_inside


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(processes_and_nats, id="process-nats"),
        pytest.param(processes_and_rabbitmq, id="process-rabbitmq", marks=pytest.mark.rabbitmq),
        pytest.param(containers_and_rabbitmq, id="docker-rabbitmq", marks=pytest.mark.docker),
    ],
)
def place(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Place]:
    """Each launcher with each broker that it goes with."""
    run_id = f"test-{secrets.token_hex(3)}"
    with ExitStack() as stack:
        yield request.param(stack, run_id, tmp_path_factory.mktemp("broker"))


def test_batches_arrive_complete_and_forwards_in_time(place: Place, tmp_path: Path) -> None:
    """Every message of two batches of different sizes is in hand after it was emitted."""
    launcher, url = place
    with HopFloor(launcher, url, tmp_path) as pair:
        for messages, body_bytes in ((30, 1024), (10, 200_000)):
            samples = pair.batch(messages, 200.0, body_bytes, seed=7)
            assert len(samples) == messages
            assert min(samples) > 0
        assert all(one.alive() for one in pair.instances)
        clients = pair.instances
    assert [client.wait(0.0) is not None for client in clients] == [True, True]
    assert [client.stop(grace_s=1.0).code for client in clients] == [0, 0]


def test_bare_starts_are_timed_and_leave_nothing(place: Place, tmp_path: Path) -> None:
    """Three bare instances connect, at once and in a row, and end when they are asked to."""
    launcher, url = place
    floor = bare_start_floor(launcher, url, tmp_path)
    assert floor.parallel_ms > 0
    assert floor.in_a_row_ms > 0
    assert len(list(tmp_path.glob("*/connected.json"))) == 6
    bare = [event for event in launcher.events() if event.name.startswith("bare-")]
    started = [event.instance_id for event in bare if event.action == "start"]
    assert len(started) == 6
    assert sorted(started) == sorted(e.instance_id for e in bare if e.action == "die")


@pytest.mark.parametrize("url", ["amqp://guest:guest@127.0.0.1:1/", "nats://127.0.0.1:1"])
def test_a_broker_that_is_not_there_is_named_by_the_client(tmp_path: Path, url: str) -> None:
    """A client that cannot connect ends, and its error is part of ours."""
    launcher = ProcessLauncher(f"test-{secrets.token_hex(3)}")
    try:
        with pytest.raises(StepExited, match="floor-sink") as raised:
            HopFloor(launcher, url, tmp_path).__enter__()
    finally:
        launcher.close()
    assert "refused" in str(raised.value).lower() or "connect" in str(raised.value).lower()
