"""Marks on what a run creates, which say whose it is, and whether that owner still lives.

An owner is written ``PID:START@MACHINE/BOOT/NAMESPACE``. The start time tells a process from a
later one of the same number; machine and process namespace keep two hosts, or two containers of
one host, that share an engine from taking each other's work for leftovers.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from functools import cache
from pathlib import Path

import psutil

from runtime.clock import clock_id

RUN = "HOPBENCH_RUN"
OWNER = "HOPBENCH_OWNER"
RUN_LABEL = "hopbench.run"
OWNER_LABEL = "hopbench.owner"
FOLDER_PREFIX = "hopbench-"
_OWNER_FILE = "owner"


def start_time(pid: int) -> int | None:
    """When a process started, in units of this system's own; None when there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            # The program's name may hold blanks and brackets; field 22 is counted after its end.
            return int(file.read().rpartition(")")[2].split()[19])
    except FileNotFoundError:
        pass
    except ProcessLookupError:
        return None
    if os.path.isdir("/proc/self"):
        return None
    try:
        return int(psutil.Process(pid).create_time() * 1000)
    except psutil.NoSuchProcess:
        return None


def is_alive(pid: int, started: int) -> bool:
    """Whether the process of this number and start time runs.

    One that has ended, and whose parent has not asked for its exit code, does not: where a
    container's first process never asks, its kind stays for good.
    """
    if start_time(pid) != started:
        return False
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@cache
def _place() -> tuple[str, str, str]:
    """Machine, boot and process namespace of this process."""
    try:
        machine = Path("/etc/machine-id").read_text(encoding="ascii").strip()
    except OSError:
        machine = ""
    try:
        namespace = os.readlink("/proc/self/ns/pid")
    except OSError:
        namespace = "pid:[host]"
    return machine or os.uname().nodename, clock_id().split()[0], namespace


def this_process() -> str:
    """The owner string of the process that asks."""
    return f"{os.getpid()}:{start_time(os.getpid())}@{'/'.join(_place())}"


def is_dead(owner: str) -> bool:
    """Whether an owner is known to have ended. Unreadable or of another place: it is not known."""
    process, _, place = owner.partition("@")
    pid, _, started = process.partition(":")
    parts = tuple(place.split("/"))
    if not pid.isdecimal() or not started.isdecimal() or len(parts) != 3:
        return False
    machine, boot, namespace = _place()
    if parts[0] != machine:
        return False
    if parts[1] != boot:
        return True
    return parts[2] == namespace and not is_alive(int(pid), int(started))


def environment(run_id: str) -> dict[str, str]:
    """Variables that mark a process, and all that it starts in turn, as belonging to a run."""
    return {RUN: run_id, OWNER: this_process()}


def labels(run_id: str) -> dict[str, str]:
    """Labels that mark containers and networks as belonging to a run."""
    return {RUN_LABEL: run_id, OWNER_LABEL: this_process()}


def temporary_folder(run_id: str) -> Path:
    """Make a folder for what lives no longer than its owner. Its maker removes it."""
    folder = Path(tempfile.mkdtemp(prefix=f"{FOLDER_PREFIX}{run_id}-"))
    (folder / _OWNER_FILE).write_text(this_process(), encoding="ascii")
    return folder


def folder_owner(folder: Path) -> str | None:
    """The owner of such a folder; None when it is not one of ours, or of another user."""
    try:
        if folder.is_symlink() or folder.lstat().st_uid != os.getuid():
            return None
        return (folder / _OWNER_FILE).read_text(encoding="ascii")
    except OSError:
        return None


def remove_folder(folder: Path) -> None:
    """Remove a folder and what is in it. Absent is fine; raises OSError when it cannot be."""
    if folder.exists():
        shutil.rmtree(folder)


def cache_folder(name: str) -> Path:
    """A folder below the user's cache (XDG base directory specification), made when absent."""
    root = os.environ.get("XDG_CACHE_HOME", "")
    base = Path(root) if os.path.isabs(root) else Path.home() / ".cache"
    folder = base / "hopbench" / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder
