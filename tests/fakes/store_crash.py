"""Kills a process that works on a store, at every step of its work, and looks at what is left.

``python -m tests.fakes.store_crash FOLDER COMPONENTS`` prints one line of JSON for each step at
which a child was killed (SIGKILL). A step is one SQLite statement, or one call that changes a file
below the store's folder. COMPONENTS has ``1/one``, ``1/two`` and ``2/one``.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from runtime.flows import Definition
from runtime.model import FlowState, FlowType, Step
from runtime.store import Store
from runtime.store.actions import Outcome
from tests.fakes.store import Clock, everything

Work = Callable[[Store], object]
STEPS = (Step("first", "one", "go"), Step("second", "two", "do", {"n": 1}))
CHANGES = {"os.mkdir", "os.rename", "os.chmod", "os.remove", "os.rmdir", "os.truncate"}


def works(components: Path) -> tuple[Work, ...]:
    """What is done to the store, one after the other; each is all or nothing."""

    def finished(store: Store) -> object:
        return store.actions.end(store.actions.unfinished()[0].id, Outcome.DONE)

    return (
        lambda s: s.revisions.deploy(components / "1" / "one"),
        lambda s: s.revisions.deploy(components / "1" / "two"),
        lambda s: s.flows.save_draft("flow", Definition(STEPS)),
        lambda s: s.flows.publish("flow"),
        lambda s: s.flows.set_type("flow", FlowType.REALTIME),
        lambda s: s.actions.begin("flow", "start"),
        lambda s: s.flows.set_state("flow", FlowState.STOPPED, FlowState.STARTING, running=1),
        lambda s: s.flows.set_state("flow", FlowState.STARTING, FlowState.RUNNING),
        finished,
        lambda s: s.revisions.deploy(components / "2" / "one"),
        lambda s: s.flows.save_draft("flow", Definition(STEPS[:1])),
        lambda s: s.flows.save_draft("flow", Definition(STEPS)),
        lambda s: s.flows.publish("flow"),
        lambda s: s.snapshots.save("flow", "first", {"n": 1}),
        lambda s: s.flows.revert("flow", 1),
        lambda s: s.flows.discard_draft("flow"),
        lambda s: s.flows.set_state("flow", set(FlowState), FlowState.STOPPED, reason="died"),
        lambda s: s.snapshots.reset("flow"),
    )


@contextmanager
def steps_counted(folder: Path, at_step: Callable[[], None]) -> Iterator[None]:
    """Call ``at_step`` before each step. For good: such hooks cannot be taken off."""
    connect, fsync, chmod = sqlite3.connect, os.fsync, os.fchmod
    prefix = f"{folder}/"

    def audited(event: str, arguments: tuple[Any, ...]) -> None:
        is_write = event == "open" and isinstance(arguments[2], int) and arguments[2] & 0o3
        if (is_write or event in CHANGES) and str(arguments[0]).startswith(prefix):
            at_step()

    def connected(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*arguments, **options)
        if arguments[0] != ":memory:":
            connection.set_trace_callback(lambda _statement: at_step())
        return connection

    def flushed(descriptor: int) -> None:
        at_step()  # A killed process leaves its writes to the kernel, flushed or not.

    def mode_changed(descriptor: int, mode: int) -> None:
        at_step()
        chmod(descriptor, mode)

    sys.addaudithook(audited)
    sqlite3.connect, os.fsync, os.fchmod = connected, flushed, mode_changed  # type: ignore[assignment]
    try:
        yield
    finally:
        sqlite3.connect, os.fsync, os.fchmod = connect, fsync, chmod


def killed_at(step: int, folder: Path, todo: tuple[Work, ...]) -> tuple[bool, int]:
    """Do it all in a child that is killed before its ``step``-th step.

    Returns whether it was, and how many works had returned.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        counter = itertools.count(1)

        def at_step() -> None:
            if next(counter) >= step:
                os.kill(os.getpid(), signal.SIGKILL)

        code = 1
        try:
            with steps_counted(folder, at_step), Store.open(folder, now=Clock()) as store:
                for work in todo:
                    work(store)
                    os.write(writing, b".")
            code = 0
        finally:
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        done = len(pipe.read())
    status = os.waitpid(child, 0)[1]
    if os.WIFEXITED(status):
        assert os.WEXITSTATUS(status) == 0, "the work itself failed"
    return os.WIFSIGNALED(status), done


def states(folder: Path, todo: tuple[Work, ...]) -> list[dict[str, Any]]:
    """What the store holds before the first work, and after each."""
    with Store.open(folder, now=Clock()) as store:
        found = [everything(store)]
        for work in todo:
            work(store)
            found.append(everything(store))
    return found


def verdict(folder: Path, done: int, todo: tuple[Work, ...], sound: list[dict[str, Any]]) -> str:
    """What is wrong with a store whose process was killed; empty when nothing is."""
    with Store.open(folder, now=Clock()) as store:
        found = everything(store)
        may_be = sound[done : done + 2]
        if found not in may_be:
            return f"after {done} works: {found}"
        if list((folder / "revisions").glob(".*")):
            return "half a copy was not swept"
        # Two neighbours are never alike: what is there tells what remains to be done.
        for work in todo[done + may_be.index(found) :]:
            work(store)
        return "" if everything(store) == sound[-1] else "it cannot be gone on with"


def main() -> None:
    """Kill at step 1, 2, 3, ... until a child comes to its end."""
    folder, todo = Path(sys.argv[1]), works(Path(sys.argv[2]))
    sound = states(folder / "whole", todo)
    assert all(one != two for one, two in itertools.pairwise(sound))
    for step in itertools.count(1):
        place = folder / str(step)
        place.mkdir()
        was_killed, done = killed_at(step, place / "store", todo)
        wrong = verdict(place / "store", done, todo, sound)
        print(json.dumps({"step": step, "killed": was_killed, "done": done, "wrong": wrong}))
        shutil.rmtree(place)
        if not was_killed:
            break


if __name__ == "__main__":
    main()
