"""Whether packets can be captured is found out by trying, and said in tcpdump's own words."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.wire import capture

DENIED = "tcpdump: lo: You don't have permission to capture on that device"


@pytest.fixture
def tcpdump(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for tcpdump, found before any real one."""
    program = tmp_path / "bin" / "tcpdump"
    program.parent.mkdir()
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    program.touch(mode=0o755)
    return program


def test_without_tcpdump(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it is not installed, that is the reason."""
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    assert capture.obstacle(tmp_path) == "tcpdump is not installed"


def test_without_the_right(tmp_path: Path, tcpdump: Path) -> None:
    """Where it may not capture, its own words are the reason."""
    tcpdump.write_text(f'#!/bin/sh\necho "{DENIED}" >&2\nexit 1\n')
    assert capture.obstacle(tmp_path) == f"tcpdump does not capture: {DENIED}"


def test_with_both(tmp_path: Path, tcpdump: Path) -> None:
    """Where it listens, nothing is in the way, and it is ended."""
    tcpdump.write_text('#!/bin/sh\necho $$ >"$0.pid"\necho "listening on lo" >&2\nexec sleep 60\n')
    assert capture.obstacle(tmp_path) == ""
    pid = int((tcpdump.parent / "tcpdump.pid").read_text())
    assert not Path(f"/proc/{pid}").exists()


def test_dropped_packets_are_counted(tmp_path: Path, tcpdump: Path) -> None:
    """What the kernel could not hand over is part of a capture's outcome."""
    tcpdump.write_text(
        "#!/bin/sh\ntrap 'echo \"3 packets dropped by kernel\" >&2; exit 0' TERM\n"
        'echo "listening on lo" >&2\nwhile :; do sleep 0.05; done\n'
    )
    with capture.recording(capture.LOOPBACK, "tcp", tmp_path) as recorder:
        assert recorder.stop().dropped == 3


def test_a_capture_without_its_counts_is_no_capture(tmp_path: Path, tcpdump: Path) -> None:
    """A tcpdump that was ended otherwise leaves no capture, but an error."""
    tcpdump.write_text('#!/bin/sh\necho "listening on lo" >&2\nexec sleep 60\n')
    with (
        capture.recording(capture.LOOPBACK, "tcp", tmp_path) as recorder,
        pytest.raises(OSError, match="did not end in good order"),
    ):
        recorder.stop()
