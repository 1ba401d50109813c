"""Counters of CPU, memory and throttling: of a container's cgroup (v1 or v2), or of an OS process.

Files are opened once and read through kept descriptors, which costs microseconds; when the
container or process has ended, a read raises OSError. Memory is what the kernel charges minus the
page cache that it could drop at any moment. For a process it is the resident set of it and its
descendants.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import psutil

from runtime.errors import MeasurementError

PROC = Path("/proc")
RESCAN_NS = 1_000_000_000
"""How often a process's descendants are looked for again."""


@dataclass(frozen=True, slots=True)
class Reading:
    """Cumulative CPU and throttled time since the start, memory now."""

    cpu_ns: int
    memory_bytes: int
    throttled_ns: int


class Counter(Protocol):
    """Something whose resources can be read until it ends."""

    def read_cpu_ns(self) -> int:
        """Cumulative CPU time. Raises OSError when it has ended."""

    def read(self) -> Reading:
        """All counters. Raises OSError when it has ended."""

    def close(self) -> None:
        """Let go of its files. Idempotent."""


@dataclass(frozen=True, slots=True)
class Mount:
    """A mounted cgroup hierarchy: which part of it is visible where; controllers only on v1."""

    version: int
    root: str
    point: Path
    controllers: frozenset[str]


def mounts(proc: Path = PROC) -> tuple[Mount, ...]:
    """Every cgroup hierarchy mounted here (proc_pid_mountinfo(5))."""
    found = []
    for line in (proc / "self/mountinfo").read_text(encoding="utf-8").splitlines():
        left, _, right = line.partition(" - ")
        kind, _, options = right.split(" ", 2)
        _, _, _, root, point, *_ = left.split(" ")
        if kind == "cgroup":
            found.append(Mount(1, root, Path(point), frozenset(options.split(","))))
        elif kind == "cgroup2":
            found.append(Mount(2, root, Path(point), frozenset()))
    return tuple(found)


def version(proc: Path = PROC) -> str | None:
    """``v1`` or ``v2``: which hierarchy has the memory controller; None where none is mounted."""
    try:
        here = mounts(proc)
    except OSError:
        return None
    if any("memory" in mount.controllers for mount in here):
        return "v1"
    return "v2" if any(mount.version == 2 for mount in here) else None


def memberships(pid: int | str, proc: Path = PROC) -> dict[str, str]:
    """Controller -> path in its hierarchy; the key of the v2 hierarchy is empty (cgroups(7))."""
    paths = {}
    for line in (proc / str(pid) / "cgroup").read_text(encoding="utf-8").splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            paths[controller] = path
    return paths


def folder(controller: str, path: str, here: tuple[Mount, ...]) -> Path | None:
    """Where a cgroup's files are on this host; None when they cannot be seen from here."""
    for mount in here:
        fits = controller in mount.controllers if controller else mount.version == 2
        if not fits:
            continue
        root = mount.root.rstrip("/")
        if not path.startswith(f"{root}/") or ".." in path.split("/"):
            continue
        place = mount.point / path[len(root) :].lstrip("/")
        if place.is_dir():
            return place
    return None


def container_counter(pid: int, proc: Path = PROC) -> Counter:
    """The counters of the container whose first process is ``pid``.

    Raises MeasurementError when its cgroup cannot be seen from here, or is also our own.
    """
    try:
        here = mounts(proc)
        theirs = memberships(pid, proc)
        ours = memberships("self", proc)
    except OSError as error:
        raise MeasurementError(
            f"its cgroup cannot be found: {error.strerror or error}", where=f"process {pid}"
        ) from error
    v1 = {
        controller: folder(controller, theirs[controller], here)
        for controller in ("cpuacct", "cpu", "memory")
        if controller in theirs
    }
    try:
        cpuacct, cpu, memory = v1.get("cpuacct"), v1.get("cpu"), v1.get("memory")
        if cpuacct and cpu and memory and theirs["memory"] != ours.get("memory"):
            return CgroupV1Counter(cpuacct, cpu, memory)
        unified = folder("", theirs.get("", ""), here)
        if unified and theirs[""] != ours.get("") and (unified / "memory.current").exists():
            return CgroupV2Counter(unified)
    except OSError as error:
        raise MeasurementError(
            f"its cgroup cannot be read: {error.strerror or error}", where=str(error.filename)
        ) from error
    raise MeasurementError(
        "its cgroup is not visible from here, or is the one that we are in ourselves",
        where=f"process {pid}",
        remedy="Run where the engine's cgroups are mounted: on the engine's own host",
    )


def field(text: bytes, name: bytes) -> int:
    """A value of a flat-keyed file (``name value`` a line); 0 when it is not there."""
    _, found, rest = (b"\n" + text).partition(b"\n" + name + b" ")
    return int(rest.split(b"\n", 1)[0]) if found else 0


class _Files:
    """Files that stay open; a counter's base."""

    def __init__(self, *paths: Path) -> None:
        self._fds: list[int] = []
        try:
            for path in paths:
                self._fds.append(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
        except OSError:
            self.close()
            raise

    def _text(self, index: int) -> bytes:
        return os.pread(self._fds[index], 8192, 0)

    def close(self) -> None:
        """Let go of the files. Idempotent."""
        while self._fds:
            os.close(self._fds.pop())


def _droppable(stat: bytes, prefix: bytes, mapped_name: bytes) -> int:
    """Bytes of page cache that no process has mapped, by ``memory.stat``.

    ``docker stats`` and the kubelet leave out ``inactive_file`` alone. But a page that is written
    to again and again becomes active, as those of a spool do: over an hour at 20 messages a second
    that took a step for one that grows by 100 bytes a message.
    """
    inactive = field(stat, prefix % b"inactive_file")
    active = field(stat, prefix % b"active_file")
    mapped = field(stat, prefix % mapped_name)
    return max(inactive, inactive + active - mapped)


class CgroupV1Counter(_Files):
    """A cgroup of the v1 hierarchies."""

    def __init__(self, cpuacct: Path, cpu: Path, memory: Path) -> None:
        super().__init__(
            cpuacct / "cpuacct.usage",
            cpu / "cpu.stat",
            memory / "memory.usage_in_bytes",
            memory / "memory.stat",
        )

    def read_cpu_ns(self) -> int:
        """Cumulative CPU time (cpuacct.usage)."""
        return int(self._text(0))

    def read(self) -> Reading:
        """All counters."""
        droppable = _droppable(self._text(3), b"total_%s", b"mapped_file")
        return Reading(
            cpu_ns=int(self._text(0)),
            memory_bytes=max(0, int(self._text(2)) - droppable),
            throttled_ns=field(self._text(1), b"throttled_time"),
        )


class CgroupV2Counter(_Files):
    """A cgroup of the unified hierarchy."""

    def __init__(self, unified: Path) -> None:
        super().__init__(unified / "cpu.stat", unified / "memory.current", unified / "memory.stat")

    def read_cpu_ns(self) -> int:
        """Cumulative CPU time (cpu.stat, usage_usec)."""
        return field(self._text(0), b"usage_usec") * 1000

    def read(self) -> Reading:
        """All counters."""
        cpu = self._text(0)
        droppable = _droppable(self._text(2), b"%s", b"file_mapped")
        return Reading(
            cpu_ns=field(cpu, b"usage_usec") * 1000,
            memory_bytes=max(0, int(self._text(1)) - droppable),
            throttled_ns=field(cpu, b"throttled_usec") * 1000,
        )


def process_cpu_ns(pid: int) -> int:
    """CPU time of all threads of a process, ended ones too. Raises OSError when it is gone."""
    if sys.platform != "linux":
        times = psutil.Process(pid).cpu_times()
        return round((times.user + times.system) * 1e9)
    # What glibc's clock_getcpuclockid(3) computes: nanoseconds, where /proc has ticks of 10 ms.
    return time.clock_gettime_ns((~pid << 3) | 2)


def descendants(pid: int, proc: Path = PROC) -> tuple[int, ...]:
    """The processes that a process has started, and theirs."""
    try:
        children = [
            int(child)
            for file in (proc / str(pid) / "task").glob("*/children")
            for child in file.read_text(encoding="ascii").split()
        ]
    except OSError:
        return ()
    return tuple(one for child in children for one in (child, *descendants(child, proc)))


class ProcessCounter:
    """An OS process and its descendants. It has no quota, so that it is never throttled."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._members = {pid: psutil.Process(pid)}
        self._cpu_ns: dict[int, int] = {}
        self._scanned_ns = 0

    def read_cpu_ns(self) -> int:
        """Cumulative CPU time; that of descendants that have ended stays in it."""
        for pid in tuple(self._members):
            try:
                self._cpu_ns[pid] = process_cpu_ns(pid)
            except (OSError, psutil.Error) as error:
                if pid == self._pid:
                    raise ProcessLookupError(f"process {pid} has ended") from error
                del self._members[pid]
        return sum(self._cpu_ns.values())

    def read(self) -> Reading:
        """All counters."""
        self._rescan()
        cpu_ns = self.read_cpu_ns()
        memory_bytes = 0
        for pid, process in tuple(self._members.items()):
            try:
                resident = process.memory_info().rss
            except psutil.Error:
                resident = 0
            if pid == self._pid and not resident:
                # A zombie has no memory, but keeps its CPU clock until it is waited for.
                raise ProcessLookupError(f"process {pid} has ended")
            memory_bytes += resident
        return Reading(cpu_ns=cpu_ns, memory_bytes=memory_bytes, throttled_ns=0)

    def _rescan(self) -> None:
        now = time.monotonic_ns()
        if self._scanned_ns and now - self._scanned_ns < RESCAN_NS:
            return
        self._scanned_ns = now
        for pid in descendants(self._pid):
            if pid not in self._members:
                try:
                    self._members[pid] = psutil.Process(pid)
                except psutil.NoSuchProcess:
                    continue

    def close(self) -> None:
        """Forget the processes."""
        self._members.clear()


def process_counter(pid: int) -> Counter:
    """The counters of an OS process. Raises MeasurementError when there is no such process."""
    try:
        return ProcessCounter(pid)
    except psutil.Error as error:
        raise MeasurementError(
            f"it cannot be looked at: {error}", where=f"process {pid}"
        ) from error
