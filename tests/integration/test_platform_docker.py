"""What only containers show of the platform: limits, out of memory with its step, none left."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from runtime.launch.broker_container import start_broker
from runtime.launch.docker import DockerLauncher
from runtime.launch.engine import connect
from runtime.launch.owner import RUN_LABEL
from tests.fakes.platforms import World, wait_for

pytestmark = pytest.mark.docker
RUN = "test-platform-docker"
HOG = "held = bytearray(512 * 1024 * 1024); held[::4096] = b'x' * len(held[::4096])"


@pytest.fixture(scope="module")
def launcher() -> Iterator[DockerLauncher]:
    """A launcher that leaves nothing."""
    opened = DockerLauncher(RUN)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def world(launcher: DockerLauncher, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A platform whose steps and broker are containers."""
    broker = start_broker(launcher)
    folder = tmp_path_factory.mktemp("world")
    for parent in (folder, *folder.parents[:2]):
        parent.chmod(0o755)
    opened = World(folder / "world", launcher, broker.url_host, broker.url_inside)
    opened.component("pass")
    opened.component("hog", HOG)
    yield opened
    opened.close()
    broker.stop()


def test_both_types_run_in_containers(world: World) -> None:
    """Containers are there as the state says, messages pass, and none is left after stop."""
    world.publish("realtime", "a=pass", {"step": "b=pass", "replicas": 2})
    world.platform.start("realtime")
    assert sorted(world.containers("realtime")) == _living("a", "b")
    sent = world.send("realtime", 4)
    wait_for(lambda: world.handled("realtime", "b") == sent)
    world.platform.stop("realtime")
    assert world.containers("realtime") == []
    # The engine lists a container as running until its network has been taken down.
    wait_for(lambda: _living("a", "b") == [])
    world.publish("ordinary", "a=pass", "b=pass", kind="ordinary")
    world.platform.start("ordinary")
    sent = world.send("ordinary", 1)
    wait_for(lambda: world.handled("ordinary", "b") == sent)
    wait_for(lambda: world.state("ordinary") == "sleeping")
    wait_for(lambda: _living("a", "b") == [])
    world.platform.stop("ordinary")


@pytest.mark.requirement("D10")
def test_limits_are_set_asked_for_or_not(world: World) -> None:
    """D10: the engine has a limit of memory and of processors for each container."""
    limits = {"memory": "96 MiB", "cpus": 0.5}
    world.publish("limited", "a=pass", {"step": "b=pass", "limits": limits})
    world.platform.start("limited")
    unasked, asked = (
        _limits(step.containers[0]) for step in world.platform.status("limited").steps
    )
    world.platform.stop("limited")
    assert asked == (96 * 2**20, 500_000_000)
    assert min(unasked) > 0


@pytest.mark.requirement("D10")
def test_out_of_memory_is_reported_with_its_step(world: World) -> None:
    """D10: status and the flow's reason name the step, the cause and the limit."""
    limits = {"memory": "64 MiB"}
    world.publish("greedy", "a=pass", {"step": "hungry=hog", "limits": limits})
    world.platform.start("greedy")
    sent = world.send("greedy", 1)
    wait_for(lambda: world.platform.status("greedy").steps[1].error)
    error = world.platform.status("greedy").steps[1].error or ""
    assert "step 'hungry'" in error
    assert "out of memory" in error
    assert "64 MiB" in error
    wait_for(lambda: world.state("greedy") == "stopped")
    assert "out of memory" in (world.platform.status("greedy").entry.reason or "")
    assert world.failed("greedy") == sent


def _limits(container: str) -> tuple[int, int]:
    """Bytes of memory, and billionths of a processor, that the engine allows a container."""
    client = connect()
    try:
        settings = client.inspect_container(container)["HostConfig"]
    finally:
        client.close()
    return settings["Memory"], settings["NanoCpus"]


def _living(*steps: str) -> list[str]:
    """Ids of this run's running containers of steps of these ids."""
    client = connect()
    try:
        found = client.containers(filters={"label": f"{RUN_LABEL}={RUN}"})
    finally:
        client.close()
    return sorted(
        one["Id"]
        for one in found
        if any(f"-{step}-" in one["Labels"]["hopbench.name"] for step in steps)
    )
