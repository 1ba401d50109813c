"""Counters of cgroups v1 and v2 from made-up hierarchies, and of real processes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import cgroups
from runtime.errors import MeasurementError

PID = 4242
OURS = "/session"
THEIRS = "/docker/abc"


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """An empty /proc with a folder for us and one for the container's first process."""
    folder = tmp_path / "proc"
    for name in ("self", str(PID)):
        (folder / name).mkdir(parents=True)
    return folder


def v1_machine(proc: Path, root: str = "/", path: str = THEIRS) -> Path:
    """A machine with v1 hierarchies and a container's counters; returns the place of the mounts."""
    mounts = proc.parent / "cgroup"
    shown = path.removeprefix(root.rstrip("/")).lstrip("/")
    lines = []
    for number, controllers in enumerate(("cpu", "cpuacct", "memory", "name=systemd")):
        point = mounts / controllers
        (point / shown).mkdir(parents=True)
        lines.append(
            f"{30 + number} 23 0:28 {root} {point} rw,relatime shared:9 "
            f"- cgroup cgroup rw,{controllers}"
        )
    (proc / "self/mountinfo").write_text("\n".join([*lines, "22 1 8:1 / / rw - ext4 /dev/vda rw"]))
    (mounts / "cpuacct" / shown / "cpuacct.usage").write_text("57744000\n")
    (mounts / "cpu" / shown / "cpu.stat").write_text(
        "nr_periods 10\nnr_throttled 2\nthrottled_time 31000\n"
    )
    (mounts / "memory" / shown / "memory.usage_in_bytes").write_text("5000000\n")
    (mounts / "memory" / shown / "memory.stat").write_text(
        "cache 1\ninactive_file 7\ntotal_cache 9\ntotal_inactive_file 700000\n"
        "total_active_file 500000\ntotal_mapped_file 200000\nmapped_file 3\nactive_file 4\n"
    )
    for name, where in (("self", OURS), (str(PID), path)):
        (proc / name / "cgroup").write_text(
            f"9:name=systemd:{where}\n4:memory:{where}\n2:cpuacct:{where}\n1:cpu:{where}\n0::/\n"
        )
    return mounts


def v2_machine(proc: Path, path: str = "/system.slice/docker-abc.scope") -> Path:
    """A machine with the unified hierarchy and a container's counters; returns its folder."""
    point = proc.parent / "cgroup"
    folder = point / path.lstrip("/")
    folder.mkdir(parents=True)
    (proc / "self/mountinfo").write_text(
        f"30 23 0:26 / {point} rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
    )
    (folder / "cpu.stat").write_text(
        "usage_usec 57744\nuser_usec 1\nsystem_usec 2\nnr_throttled 0\nthrottled_usec 31\n"
    )
    (folder / "memory.current").write_text("5000000\n")
    (folder / "memory.stat").write_text(
        "anon 4\nfile 9\nfile_mapped 200000\ninactive_file 700000\nactive_file 500000\n"
    )
    (proc / "self/cgroup").write_text("0::/user.slice\n")
    (proc / str(PID) / "cgroup").write_text(f"0::{path}\n")
    return folder


def test_v1_counters_are_read_from_each_hierarchy(proc: Path) -> None:
    """CPU, throttling and memory come from their own hierarchies; droppable cache is subtracted."""
    v1_machine(proc)
    counter = cgroups.container_counter(PID, proc)
    expected = cgroups.Reading(cpu_ns=57_744_000, memory_bytes=4_000_000, throttled_ns=31_000)
    assert counter.read() == expected
    assert counter.read_cpu_ns() == 57_744_000
    counter.close()


def test_v2_counters_are_converted_from_microseconds(proc: Path) -> None:
    """The unified hierarchy counts microseconds; the reading is in nanoseconds."""
    v2_machine(proc)
    counter = cgroups.container_counter(PID, proc)
    expected = cgroups.Reading(cpu_ns=57_744_000, memory_bytes=4_000_000, throttled_ns=31_000)
    assert counter.read() == expected
    assert counter.read_cpu_ns() == 57_744_000
    counter.close()


def test_what_is_mapped_is_needed(proc: Path) -> None:
    """Active pages of programs and libraries count; a cache that only stands by does not."""
    folder = v2_machine(proc)
    counter = cgroups.container_counter(PID, proc)
    (folder / "memory.stat").write_text(
        "file_mapped 900000\ninactive_file 100000\nactive_file 800000\n"
    )
    assert counter.read().memory_bytes == 4_900_000
    (folder / "memory.stat").write_text("file_mapped 0\ninactive_file 100000\nactive_file 800000\n")
    assert counter.read().memory_bytes == 4_100_000
    counter.close()


def test_changes_are_seen_through_the_kept_descriptor(proc: Path) -> None:
    """A counter re-reads its file from the beginning, also after the file's name is gone."""
    folder = v2_machine(proc)
    counter = cgroups.container_counter(PID, proc)
    (folder / "cpu.stat").write_text("usage_usec 99999\n")
    (folder / "cpu.stat").unlink()
    assert counter.read_cpu_ns() == 99_999_000
    counter.close()


def test_a_mount_that_shows_a_part_of_the_hierarchy(proc: Path) -> None:
    """Where only a part is mounted, the container's path is taken relative to that part."""
    v1_machine(proc, root="/outer", path="/outer/docker/abc")
    counter = cgroups.container_counter(PID, proc)
    assert counter.read().memory_bytes == 4_000_000
    counter.close()


def test_a_cgroup_outside_our_namespace_is_not_guessed(proc: Path) -> None:
    """A path that leads out of what we can see is refused, not resolved to something else."""
    v1_machine(proc)
    (proc / str(PID) / "cgroup").write_text(
        "4:memory:/../abc\n2:cpuacct:/../abc\n1:cpu:/../abc\n0::/../abc\n"
    )
    with pytest.raises(MeasurementError, match="not visible from here"):
        cgroups.container_counter(PID, proc)


def test_our_own_cgroup_is_no_containers(proc: Path) -> None:
    """A process in the cgroup that we are in has no counters of its own."""
    v1_machine(proc)
    (proc / "self/cgroup").write_text((proc / str(PID) / "cgroup").read_text())
    with pytest.raises(MeasurementError, match="that we are in ourselves"):
        cgroups.container_counter(PID, proc)


def test_a_process_that_is_not_there(proc: Path) -> None:
    """The cgroup of a process that has ended is an error that names the process."""
    v1_machine(proc)
    with pytest.raises(MeasurementError, match="process 99"):
        cgroups.container_counter(99, proc)


def test_version_is_that_of_the_memory_controller(proc: Path) -> None:
    """v1 where a v1 hierarchy has the memory controller, also beside a unified one; else v2."""
    v1_machine(proc)
    table = (proc / "self/mountinfo").read_text()
    (proc / "self/mountinfo").write_text(f"{table}\n39 2 0:1 / /x rw - cgroup2 cgroup2 rw")
    assert cgroups.version(proc) == "v1"
    (proc / "self/mountinfo").write_text("39 2 0:1 / /x rw - cgroup2 cgroup2 rw")
    assert cgroups.version(proc) == "v2"
    (proc / "self/mountinfo").write_text("22 1 8:1 / / rw - ext4 /dev/vda rw")
    assert cgroups.version(proc) is None


@pytest.mark.parametrize(
    ("name", "value"), [(b"first", 1), (b"middle", 22), (b"last", 333), (b"absent", 0)]
)
def test_field_finds_whole_names(name: bytes, value: int) -> None:
    """A field is found wherever its line is, and not inside a longer name."""
    assert cgroups.field(b"first 1\nxmiddle 9\nmiddle 22\nlast 333", name) == value


@pytest.fixture
def parent() -> Iterator[subprocess.Popen[str]]:
    """A process that uses CPU time, then holds a child and waits for its standard input to end."""
    code = (
        "import subprocess, sys, time\n"
        "end = time.process_time() + 0.05\n"
        "while time.process_time() < end: pass\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import sys; sys.stdin.read()'])\n"
        "print(child.pid, flush=True)\n"
        "sys.stdin.read()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    yield process
    process.communicate()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_process_is_counted_with_its_child(parent: subprocess.Popen[str]) -> None:
    """CPU time covers what was used, memory the parent and the child together."""
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    counter = cgroups.process_counter(parent.pid)
    reading = counter.read()
    assert cgroups.descendants(parent.pid) == (child,)
    assert reading.cpu_ns >= 50_000_000
    assert reading.throttled_ns == 0
    alone = cgroups.process_counter(child).read().memory_bytes
    assert reading.memory_bytes > alone > 0


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_an_ended_process_raises(parent: subprocess.Popen[str]) -> None:
    """A process that has ended cannot be read, whether or not it has been waited for."""
    assert parent.stdout is not None
    parent.stdout.readline()
    counter = cgroups.process_counter(parent.pid)
    parent.kill()
    while os.waitid(os.P_PID, parent.pid, os.WEXITED | os.WNOWAIT) is None:
        time.sleep(0.01)
    with pytest.raises(OSError, match="has ended"):
        counter.read()
    parent.wait()
    with pytest.raises(OSError, match="has ended"):
        counter.read()


def test_no_such_process() -> None:
    """Asking for a process that does not exist is an error that says so."""
    with pytest.raises(MeasurementError, match="cannot be looked at"):
        cgroups.process_counter(2**22 + 1)
