"""A store that cannot be written for a while: another process has locked its file.

An operation that meets it says so, and the flow is as before or stopped: never half of either.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from runtime.broker.nats_server import NatsServer
from runtime.errors import StoreError
from runtime.launch.process import ProcessLauncher
from runtime.model import FlowState
from runtime.store import DATABASE
from tests.fakes.platforms import PAUSE, World, wait_for

RUN = "test-platform-store"
GATED = """
import os, time

def init(cfg):
    while not os.path.exists(cfg["begin"]):
        time.sleep(0.01)
"""


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A platform that waits for its store for a tenth of a second, on processes and NATS."""
    server = NatsServer.start(RUN, tmp_path / "broker")
    launcher = ProcessLauncher(RUN)
    opened = World(tmp_path / "world", launcher, server.url, grace_s=20.0, busy_timeout_s=0.1)
    opened.component("pause", PAUSE)
    opened.component("gated", around=GATED)
    yield opened
    opened.close()
    launcher.close()
    server.stop()


@contextmanager
def locked(world: World) -> Iterator[None]:
    """Have the store's file locked as another program would."""
    file = world.folder / "store" / DATABASE
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


def reasons(world: World) -> list[str]:
    """Why the flow's messages are among its errors."""
    return [entry.error for entry in world.platform.errors("flow")]


@pytest.mark.parametrize("operation", ["stop", "suspend"])
def test_an_end_that_cannot_be_written_leaves_nothing_half_done(
    world: World, operation: str
) -> None:
    """The containers end all the same; what waits is kept as errors, by a stop that failed, too."""
    world.publish("flow", {"step": "a=pause", "config": {"sleep_s": 2.0}, "prefetch": 1})
    world.platform.start("flow")
    sent = world.send("flow", 3)
    wait_for(lambda: world.waiting("flow") == {"a": 2})
    with ThreadPoolExecutor(1) as pool:
        ended = pool.submit(getattr(world.platform, operation), "flow")
        wait_for(lambda: world.state("flow") == "stopping")
        with locked(world), pytest.raises(StoreError, match="locked by another process"):
            ended.result()
    assert world.containers("flow") == []
    assert world.handled("flow", "a") == sent[:1]
    world.platform.start("flow")
    assert world.state("flow") == "running"
    assert world.failed("flow") == sent[1:]
    said = "the store could not be written when the flow ended, which was stopping"
    assert [said in one for one in reasons(world)] == [True, True]
    world.platform.stop("flow")


def test_a_start_that_cannot_be_written_fails(world: World, tmp_path: Path) -> None:
    """It does not return as if the flow ran; no container is left, and it can be started anew."""
    begin = tmp_path / "begin"
    world.publish("flow", {"step": "a=gated", "config": {"begin": str(begin)}})
    with ThreadPoolExecutor(1) as pool:
        started = pool.submit(world.platform.start, "flow")
        wait_for(lambda: world.state("flow") == "starting")
        with locked(world):
            begin.touch()
            with pytest.raises(StoreError, match="locked by another process"):
                started.result()
    assert world.containers("flow") == []
    world.platform.start("flow")
    assert world.platform.status("flow").entry.state is FlowState.RUNNING
