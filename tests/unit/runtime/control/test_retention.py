"""What ended containers wrote is removed beyond the last few, and what is counted stays counted."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

import pytest

from runtime.control import retention
from runtime.errors import StoreError
from runtime.spans import OK, PROCESS, REBOUND, Spool
from tests.fakes.flow_parts import MemoryLauncher
from tests.fakes.platforms import World, wait_for

FLOW = "flow"


def write_spool(container: Path, step: int, *outcomes: int) -> Path:
    """A container's folder, with the spans of messages that ended like this."""
    container.mkdir(parents=True)
    spool = Spool(str(container / retention.SPOOL), step=step, clock="clock")
    for number, outcome in enumerate(outcomes):
        spool.write(spool.encode(PROCESS, outcome, 0, 0, 0, number, 0, 1))
    spool.close()
    return container


def has_started(launcher: MemoryLauncher, count: int) -> bool:
    """Whether so many containers have been started by now."""
    return len(launcher.instances) == count


def test_what_was_sent_back_is_counted_after_its_container_is_gone(tmp_path: Path) -> None:
    """The folder is removed, and the count is what it was."""
    start = tmp_path / "18a-1"
    first = write_spool(start / "one", 0, REBOUND, OK, REBOUND)
    second = write_spool(start / "two", 0, REBOUND)
    write_spool(start / "three", 1, REBOUND)
    assert retention.rebounds(start) == {0: 3, 1: 1}
    for container in (first, second):
        retention.forget(container)
        assert not container.exists()
        assert retention.rebounds(start) == {0: 3, 1: 1}


def test_a_crash_within_the_removal_counts_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that is counted as removed, and still there, counts once; the error is ours."""
    container = write_spool(tmp_path / "18a-1" / "one", 0, REBOUND)

    def refused(_: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(shutil, "rmtree", refused)
    with pytest.raises(StoreError, match="cannot be removed: Operation not permitted"):
        retention.forget(container)
    assert container.exists()
    assert retention.rebounds(container.parent) == {0: 1}
    with pytest.raises(StoreError, match="18a-1: what an ended container wrote"):
        retention.forget_starts(tmp_path, 0)


def test_the_oldest_starts_go_first(tmp_path: Path) -> None:
    """Starts are counted within their platform: the tenth is later than the ninth."""
    names = ["18a-9", "18a-10", "18b-1"]
    for name in reversed(names):
        write_spool(tmp_path / name / "one", 0, OK)
    assert [one.name for one in retention.starts(tmp_path)] == names
    retention.forget_starts(tmp_path, 2)
    assert [one.name for one in retention.starts(tmp_path)] == names[1:]
    retention.forget_starts(tmp_path, 0)
    assert retention.starts(tmp_path) == []
    retention.forget_starts(tmp_path / "nowhere", 1)


def test_a_flow_keeps_the_last_of_each_step(world: World, launcher: MemoryLauncher) -> None:
    """Two ended containers of a step and two starts are kept, with those that run; no more."""
    object.__setattr__(world.place, "kept", 2)
    world.publish(FLOW, "a=pass", "b=pass")
    folder = world.place.folder / FLOW
    world.platform.start(FLOW)
    for count in (3, 4, 5):
        next(one for one in launcher.instances if "-a-" in one.name and one.alive()).end(1)
        wait_for(partial(has_started, launcher, count))
    (start,) = retention.starts(folder)
    wait_for(lambda: len(list(start.glob("*/spans.spool"))) == 4)
    kept = {one.parent.name for one in start.glob("*/spans.spool")}
    assert {one.rpartition("-")[0] for one in kept} == {"flow-a", "flow-b"}
    assert set(launcher.alive()) <= kept
    for _ in range(3):
        world.platform.stop(FLOW)
        world.platform.start(FLOW)
    assert len(retention.starts(folder)) == 2
    assert start not in retention.starts(folder)


def test_who_measures_keeps_all(world: World) -> None:
    """Where nothing is said, every start's spans stay."""
    world.publish(FLOW, "a=pass")
    for _ in range(5):
        world.platform.start(FLOW)
        world.platform.stop(FLOW)
    assert len(retention.starts(world.place.folder / FLOW)) == 5
