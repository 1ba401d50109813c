"""Finds and removes what runs left behind whose owner ended without cleaning up.

Only what carries our marks is looked at, and only where the owner they name is known to be dead.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from runtime.errors import EngineUnavailable, LaunchError
from runtime.launch import owner

_KILL_TIMEOUT_S = 5.0
_POLL_S = 0.01


@dataclass(frozen=True, slots=True)
class Leftover:
    """One thing that outlived its run. ``kind``: container, network, process or folder."""

    kind: str
    id: str
    name: str
    run_id: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name} of run {self.run_id or 'unknown'}"


@dataclass(frozen=True, slots=True)
class Found:
    """What was found. ``problem`` says why containers and networks could not be looked at."""

    leftovers: tuple[Leftover, ...]
    problem: str | None = None


def find(is_left: Callable[[str], bool] = owner.is_dead) -> Found:
    """Look for leftovers; changes nothing. A missing engine has none, and is named as a problem.

    ``is_left`` judges an owner: does what carries its mark count as left behind?
    """
    local = (*_processes(is_left), *_folders(is_left))
    try:
        return Found((*_in_engine(is_left), *local))
    except EngineUnavailable as error:
        return Found(local, str(error))


def clean(found: Found | None = None) -> Found:
    """Remove what :func:`find` finds; returns what was removed.

    Raises LaunchError, naming each, when some of it cannot be removed; the rest is gone by then.
    """
    found = find() if found is None else found
    failed: list[LaunchError] = []
    for each in found.leftovers:
        try:
            _REMOVE[each.kind](each)
        except LaunchError as error:
            failed.append(error)
    if len(failed) > 1:
        raise LaunchError("; ".join(map(str, failed)))
    if failed:
        raise failed[0]
    return found


def _in_engine(is_left: Callable[[str], bool]) -> Iterator[Leftover]:
    """Containers, then networks: the order in which they can be removed."""
    from runtime.launch.engine import calling, connect

    client = connect()
    try:
        marked = {"label": owner.OWNER_LABEL}
        with calling("list the containers of earlier runs"):
            containers = client.containers(all=True, filters=marked)
        with calling("list the networks of earlier runs"):
            networks = client.networks(filters=marked)
    finally:
        client.close()
    for each in containers:
        if is_left(each["Labels"].get(owner.OWNER_LABEL, "")):
            name = str(each["Names"][0]).lstrip("/") if each["Names"] else each["Id"][:12]
            yield Leftover("container", each["Id"], name, each["Labels"].get(owner.RUN_LABEL, ""))
    for each in networks:
        if is_left(each["Labels"].get(owner.OWNER_LABEL, "")):
            yield Leftover(
                "network", each["Id"], each["Name"], each["Labels"].get(owner.RUN_LABEL, "")
            )


def _processes(is_left: Callable[[str], bool]) -> Iterator[Leftover]:
    """Processes whose environment names a dead owner; other users' environments are closed."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            variables = process.environ()
            if process.pid != os.getpid() and is_left(variables.get(owner.OWNER, "")):
                started = owner.start_time(process.pid)
                if started is None:
                    continue
                yield Leftover(
                    "process",
                    f"{process.pid}:{started}",
                    f"{process.name()} ({process.pid})",
                    variables.get(owner.RUN, ""),
                )


def _folders(is_left: Callable[[str], bool]) -> Iterator[Leftover]:
    for folder in Path(tempfile.gettempdir()).glob(f"{owner.FOLDER_PREFIX}*"):
        whose = owner.folder_owner(folder)
        if whose is not None and is_left(whose):
            run_id = folder.name.removeprefix(owner.FOLDER_PREFIX).rpartition("-")[0]
            yield Leftover("folder", str(folder), str(folder), run_id)


def _remove_from_engine(leftover: Leftover) -> None:
    from runtime.launch.engine import CONFLICT, NOT_FOUND, Allowing, connect, remove_network

    client = connect()
    try:
        if leftover.kind == "network":
            remove_network(client, leftover.id, leftover.name)
            return
        # Another run may be removing the same leftover at the same time.
        with Allowing(f"remove {leftover}", NOT_FOUND, CONFLICT, where=leftover.id[:12]):
            client.remove_container(leftover.id, v=True, force=True)
    finally:
        client.close()


def _kill(leftover: Leftover) -> None:
    pid, started = map(int, leftover.id.split(":"))
    refusal = f"it still runs {_KILL_TIMEOUT_S:g} s after its SIGKILL"
    try:
        if owner.is_alive(pid, started):
            psutil.Process(pid).kill()
        deadline = time.monotonic() + _KILL_TIMEOUT_S
        while time.monotonic() < deadline:
            if not owner.is_alive(pid, started):
                return
            time.sleep(_POLL_S)
    except psutil.NoSuchProcess:
        # It ended by itself, which is what we want.
        return
    except psutil.AccessDenied as error:
        refusal = str(error)
    raise LaunchError(
        f"cannot end a process that an earlier run left behind: {refusal}",
        where=leftover.name,
        remedy=f"End it yourself: kill -9 {pid}",
    )


def _remove_folder(leftover: Leftover) -> None:
    try:
        owner.remove_folder(Path(leftover.id))
    except OSError as error:
        raise LaunchError(
            f"cannot remove a folder that an earlier run left behind: {error.strerror}",
            where=leftover.id,
            remedy="Remove it yourself",
        ) from error


_REMOVE: Mapping[str, Callable[[Leftover], None]] = {
    "container": _remove_from_engine,
    "network": _remove_from_engine,
    "process": _kill,
    "folder": _remove_folder,
}
