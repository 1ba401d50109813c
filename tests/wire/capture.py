"""Captures real packets with tcpdump, and says where their wall clock stands on the suite's.

A capture is sound when the kernel dropped no packet and the two clocks kept their distance.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from runtime.clock import wall_offset_ns
from runtime.launch import owner

LOOPBACK = "lo"
_BUFFER_KIB = 32 * 1024
_READY_TIMEOUT_S = 20.0
_READ_INTERVAL_S = 1.5
"""tcpdump asks the kernel for what it has once a second: what came since is lost at its end."""


@dataclass(frozen=True, slots=True)
class Capture:
    """A finished capture. ``wall_offset_ns`` is the wall clock less the monotonic one.

    ``offset_moved_ns`` is how far that difference moved meanwhile, ``dropped`` how many packets the
    kernel could not hand over.
    """

    file: Path
    wall_offset_ns: int
    offset_moved_ns: int
    dropped: int


class Recorder:
    """A running tcpdump. Raises OSError with tcpdump's words when it cannot capture."""

    def __init__(self, interface: str, expression: str, folder: Path) -> None:
        # An ordinary user's path may lack the folders of system programs.
        program = shutil.which("tcpdump", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
        if program is None:
            raise OSError("tcpdump is not installed")
        self._file = folder / "packets.pcap"
        self._said = folder / "tcpdump.log"
        self._offset_ns = wall_offset_ns()
        with self._file.open("wb") as packets, self._said.open("wb") as said:
            # To its standard output: tcpdump gives up its rights before it would open a file.
            self._process = subprocess.Popen(
                [
                    *(program, "-i", interface, "-n", "-s", "0", "-w", "-"),
                    *("--time-stamp-precision=nano", "-B", str(_BUFFER_KIB), expression),
                ],
                stdout=packets,
                stderr=said,
                env={**os.environ, **owner.environment("capture"), "LC_ALL": "C"},
                start_new_session=True,
            )
        try:
            self._await_packets()
        except BaseException:
            self.abandon()
            raise

    def _await_packets(self) -> None:
        deadline = time.monotonic() + _READY_TIMEOUT_S
        while "listening on" not in self._words():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise OSError(f"tcpdump does not capture: {self._words().strip()}")
            time.sleep(0.02)

    def stop(self) -> Capture:
        """End the capture in good order."""
        time.sleep(_READ_INTERVAL_S)
        offset_ns = wall_offset_ns()
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(_READY_TIMEOUT_S)
        counted = re.search(r"^(\d+) packets? dropped by kernel", self._words(), re.MULTILINE)
        if counted is None:
            raise OSError(f"tcpdump did not end in good order: {self._words().strip()}")
        moved_ns = abs(offset_ns - self._offset_ns)
        middle_ns = (offset_ns + self._offset_ns) // 2
        return Capture(self._file, middle_ns, moved_ns, int(counted.group(1)))

    def abandon(self) -> None:
        """End it without regard to what it has captured. Idempotent."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()

    def _words(self) -> str:
        return self._said.read_text(encoding="utf-8", errors="replace")


@contextlib.contextmanager
def recording(interface: str, expression: str, folder: Path) -> Iterator[Recorder]:
    """A recorder that does not outlive its ``with``; :meth:`Recorder.stop` gives the capture."""
    recorder = Recorder(interface, expression, folder)
    try:
        yield recorder
    finally:
        recorder.abandon()


def obstacle(folder: Path) -> str:
    """Why packets cannot be captured here; empty when they can."""
    try:
        with recording(LOOPBACK, "udp port 9", folder):
            return ""
    except OSError as error:
        return str(error)


def open_sink(host: str, port: int = 0) -> socket.socket:
    """A socket whose datagrams nobody reads: with it their senders are not told that none is there.

    What does not fit into its buffer is dropped by the kernel, without a word.
    """
    sink = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sink.bind((host, port))
    except OSError:
        sink.close()
        raise
    return sink
