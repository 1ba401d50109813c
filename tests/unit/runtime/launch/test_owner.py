"""Marks of ownership: who is dead, who lives, and who cannot be judged from here."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from runtime.launch import owner


def test_this_process_lives() -> None:
    """The owner that asks is never taken for dead."""
    assert not owner.is_dead(owner.this_process())


def test_an_ended_process_is_dead() -> None:
    """An owner that has ended is dead."""
    program = "from runtime.launch import owner; print(owner.this_process())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert owner.is_dead(done.stdout.decode().strip())


def test_a_later_process_of_the_same_number_is_not_the_owner() -> None:
    """The start time tells two processes of one number apart."""
    mark = owner.this_process()
    earlier = re.sub(r":(\d+)@", lambda match: f":{int(match[1]) - 1}@", mark)
    assert owner.is_dead(earlier)


def test_an_earlier_boot_is_dead() -> None:
    """Whatever a run of before the last boot owned is left over."""
    process, place = owner.this_process().split("@")
    machine, _, namespace = place.split("/")
    assert owner.is_dead(f"{process}@{machine}/another-boot/{namespace}")


@pytest.mark.parametrize("part", [0, 2])
def test_another_place_is_not_judged(part: int) -> None:
    """An owner on another machine, or in another process namespace, is not called dead."""
    place = owner.this_process().split("@")[1].split("/")
    place[part] = "elsewhere"
    assert not owner.is_dead(f"999999:1@{'/'.join(place)}")


@pytest.mark.parametrize("mark", ["", "x", "1@", "1:2", "a:b@c/d/e", "1:2@c/d"])
def test_an_unreadable_mark_is_not_judged(mark: str) -> None:
    """What is not an owner's mark is never called dead."""
    assert not owner.is_dead(mark)


def test_an_ended_process_nobody_asked_about_is_dead() -> None:
    """An owner that has ended is dead even while its parent has not asked for its exit code."""
    program = "from runtime.launch import owner; print(owner.this_process(), flush=True)"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        mark = process.stdout.read().decode().strip()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert owner.start_time(process.pid) is not None
        assert owner.is_dead(mark)


def test_start_time_of_nobody() -> None:
    """A process number that is not in use has no start time."""
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    assert owner.start_time(done.pid) is None
    assert owner.start_time(os.getpid()) is not None


def test_folder_names_its_owner() -> None:
    """A temporary folder says whose it is, and goes when asked to."""
    folder = owner.temporary_folder("some-run")
    try:
        assert owner.folder_owner(folder) == owner.this_process()
    finally:
        owner.remove_folder(folder)
    assert not folder.exists()
    owner.remove_folder(folder)


def test_links_and_foreign_folders_have_no_owner(tmp_path: Path) -> None:
    """A link to a marked folder, and a folder without a mark, are none of ours."""
    marked = tmp_path / "marked"
    marked.mkdir()
    (marked / "owner").write_text(owner.this_process())
    (tmp_path / "link").symlink_to(marked)
    assert owner.folder_owner(marked) == owner.this_process()
    assert owner.folder_owner(tmp_path / "link") is None
    assert owner.folder_owner(tmp_path) is None


def test_cache_folder_follows_the_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """XDG_CACHE_HOME is honoured when absolute, ignored when relative, as specified."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert owner.cache_folder("a") == tmp_path / "hopbench" / "a"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert owner.cache_folder("a") == tmp_path / "home" / ".cache" / "hopbench" / "a"
