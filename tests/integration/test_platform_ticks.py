"""D7: a flow whose trigger a clock calls, on processes and both brokers."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from runtime.broker.nats_server import NatsServer
from runtime.broker.node import RabbitNode
from runtime.launch.process import ProcessLauncher
from runtime.scheduler import TickCount
from scenarios.files import COMPONENTS
from tests.fakes.platforms import World, wait_for

RUN = "test-ticks"
TIMER = {"step": "a=timer", "function": "tick"}
WRITE = "open(cfg['to'], 'a').write(f\"{msg['body']['sequence']} {msg['body']['time']}\\n\")"


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
    """A platform with a timer and a step that writes down what it is told."""
    launcher = ProcessLauncher(RUN)
    opened = World(tmp_path / "world", launcher, url)
    opened.platform.deploy(COMPONENTS / "timer")
    opened.component("write", WRITE)
    yield opened
    opened.close()
    launcher.close()
    assert "scheduler" not in {thread.name for thread in threading.enumerate()}


def ticks(world: World, flow: str) -> TickCount:
    """The count of a flow that is ticked."""
    counted = world.platform.ticks(flow)
    assert counted is not None
    return counted


def lines(path: Path) -> list[str]:
    """What has been written down."""
    return path.read_text().splitlines() if path.exists() else []


@pytest.mark.requirement("D7")
def test_a_realtime_flow_is_called_continuously(world: World, tmp_path: Path) -> None:
    """S23: the trigger's calls go on while the flow runs; each tick is one message, in order."""
    path = tmp_path / "heard"
    told = {"step": "b=write", "config": {"to": str(path)}}
    trigger = {"kind": "interval", "every": "100 ms"}
    world.publish("flow", TIMER, told, trigger=trigger)
    assert world.platform.ticks("flow") is None
    world.platform.start("flow")
    wait_for(lambda: len(lines(path)) >= 5)
    world.platform.suspend("flow")
    assert world.platform.ticks("flow") is None
    world.platform.resume("flow")
    before = len(lines(path))
    wait_for(lambda: len(lines(path)) >= before + 3)
    counted = ticks(world, "flow")
    assert (counted.failed, counted.error) == (0, None)
    world.platform.stop("flow")
    assert world.platform.ticks("flow") is None
    numbers = [int(line.split()[0]) for line in lines(path)]
    again = numbers.index(1, 1)
    for run in (numbers[:again], numbers[again:]):
        assert run == list(range(1, len(run) + 1))
    times = [datetime.fromisoformat(line.split()[1]) for line in lines(path)]
    assert times == sorted(set(times))
    assert world.platform.errors("flow") == ()


@pytest.mark.requirement("D7")
def test_an_ordinary_flow_is_called_by_a_cron_line(world: World, tmp_path: Path) -> None:
    """Each tick is one execution, and between them the flow sleeps."""
    path = tmp_path / "heard"
    told = {"step": "b=write", "config": {"to": str(path)}}
    trigger = {"kind": "cron", "schedule": "*/2 * * * * *"}
    world.publish("flow", TIMER, told, kind="ordinary", trigger=trigger)
    world.platform.start("flow")
    wait_for(lambda: len(lines(path)) >= 2)
    times = [datetime.fromisoformat(line.split()[1]) for line in lines(path)]
    assert all(time.second % 2 == 0 and time.microsecond == 0 for time in times)
    world.platform.stop("flow")


def test_a_queue_without_room_refuses_ticks(world: World) -> None:
    """A flow that is called faster than it can go keeps what fits, and its other ticks are gone."""
    slow = "import time; time.sleep(0.2); return {'body': msg['body']}"
    world.component("slow", slow)
    trigger = {"kind": "interval", "every": "10 ms"}
    world.publish("flow", {"step": "a=slow", "max_length": 2}, "b=write", trigger=trigger)
    world.platform.start("flow")
    wait_for(lambda: ticks(world, "flow").failed > 5)
    assert "refused: the first queue is full" in str(ticks(world, "flow").error)
    assert world.waiting("flow")["a"] <= 2
    world.platform.stop("flow")
    assert world.state("flow") == "stopped"


def test_what_runs_on_is_ticked_as_its_new_version_says(world: World, tmp_path: Path) -> None:
    """Publishing over a running flow ends the old schedule and begins the new one."""
    path = tmp_path / "heard"
    told = {"step": "b=write", "config": {"to": str(path)}}
    world.publish("flow", TIMER, told, trigger={"kind": "interval", "every": "1 h"})
    world.platform.start("flow")
    assert ticks(world, "flow").ticks == 0
    world.publish("flow", TIMER, told, trigger={"kind": "interval", "every": "50 ms"})
    wait_for(lambda: len(lines(path)) >= 2)
    world.publish("flow", TIMER, told, trigger={"kind": "none"})
    assert world.platform.ticks("flow") is None
