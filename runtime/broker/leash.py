"""Keeps a server on a leash: when its owner ends, however it ends, the server and its tree end.

The module is both ends. :class:`Leash` is the owner's. The other is a small program (this file, run
as a script) between owner and server: it holds the read end of a pipe whose write end only the
owner has, so even the owner's SIGKILL shows as the end of the file. On Linux it adopts what the
server's own children leave behind, so that daemons which detach themselves are ended too.

The program imports nothing but the standard library: it runs outside of the project's path.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

_SET_PDEATHSIG = 1
_SET_CHILD_SUBREAPER = 36
_KILL_WAIT_S = 5.0


class Leash:
    """A running server that ends with this process. Not for a thread's use beside another's."""

    def __init__(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        log: Path,
        grace_s: float,
        remove: Path | None = None,
        keep_open: Sequence[int] = (),
    ) -> None:
        """Start ``argv`` with nothing but ``env``, both output streams going to ``log``.

        ``remove`` is a folder that goes with the leash, not before: should the server end by
        itself, its log is still there to be read. ``keep_open`` are descriptors that stay open
        until all of it has ended, also when this process has before. Raises OSError.
        """
        self._log = log
        self._grace_s = grace_s
        program = [sys.executable, "-I", "-S", __file__]
        settings = [str(os.getpid()), str(grace_s), str(remove or "")]
        with log.open("ab") as file:
            self._process = subprocess.Popen(
                [*program, *settings, *argv],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                env=dict(env),
                start_new_session=True,
                pass_fds=keep_open,
            )

    @property
    def leash_pid(self) -> int:
        """The process between this one and the server."""
        return self._process.pid

    @property
    def pids(self) -> tuple[int, ...]:
        """The server's processes that live now (Linux only; empty elsewhere)."""
        return tuple(sorted(_descendants(self._process.pid)))

    def alive(self) -> bool:
        """Whether the server still runs, or is still being ended."""
        if self._process.poll() is not None:
            return False
        assert self._process.stdout is not None
        poller = select.poll()
        # The other side never writes: it closes its end when the server has ended.
        poller.register(self._process.stdout)
        return not poller.poll(0)

    def lines(self) -> list[str]:
        """What the server wrote; empty when its log is gone."""
        try:
            return self._log.read_text(encoding="utf-8", errors="replace").splitlines()
        except FileNotFoundError:
            return []

    def last_lines(self, count: int = 15) -> str:
        """The end of what the server wrote."""
        return "\n".join(self.lines()[-count:])

    def stop(self) -> None:
        """SIGTERM, SIGKILL after the grace, and return when all of it is gone. Idempotent."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(self._grace_s + 2 * _KILL_WAIT_S)
        except subprocess.TimeoutExpired:
            # The program between is stuck (stopped, say): do its work from here.
            tree = self.pids
            self._process.kill()
            self._process.wait()
            _signal(tree, signal.SIGKILL)
        self._process.stdout.close()


def _descendants(root: int) -> set[int]:
    """All processes below ``root``, found through the parents that /proc names."""
    parents: dict[int, int] = {}
    with contextlib.suppress(FileNotFoundError):  # no /proc: not Linux
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                # A process may end while we look at it.
                with contextlib.suppress(OSError), open(f"/proc/{entry}/stat", "rb") as file:
                    fields = file.read().rpartition(b")")[2].split()
                    parents[int(entry)] = int(fields[1])
    found: set[int] = set()
    layer = {root}
    while layer:
        layer = {pid for pid, parent in parents.items() if parent in layer} - found
        found |= layer
    return found


def _signal(pids: Iterable[int], number: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _prctl(option: int, value: int) -> None:
    """Ask the kernel for something about this process; only Linux has it."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


class _Keeper:
    """The program's state: one child, and the pipe through which its signals wake the loop."""

    def __init__(self, owner: int, grace_s: float, argv: Sequence[str]) -> None:
        self.grace_s = grace_s
        self.exit_code: int | None = None
        self.told_to_end = False
        self.wake_read, wake_write = os.pipe()
        os.set_blocking(wake_write, False)
        os.set_blocking(self.wake_read, False)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._on_end)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        _prctl(_SET_CHILD_SUBREAPER, 1)
        self.owner_fd = self._watch(owner)
        self.child = os.fork()
        if self.child == 0:
            _become(argv)

    def _on_end(self, _number: int, _frame: object) -> None:
        self.told_to_end = True

    def _watch(self, owner: int) -> int | None:
        """A descriptor that becomes readable when the owner ends.

        The pipe alone would do, if no fork of the owner could hold its other end open.
        """
        if not hasattr(os, "pidfd_open"):
            return None
        try:
            descriptor = os.pidfd_open(owner)
        except OSError:  # the owner is gone already, or the kernel is older than 5.3
            descriptor = None
        self.told_to_end = os.getppid() != owner
        return descriptor

    def watch(self, *, for_good: bool) -> None:
        """Return when the owner wants the end or has ended, or, if not ``for_good``, the child."""
        poller = select.poll()
        for descriptor in (0, self.wake_read, self.owner_fd):
            if descriptor is not None:
                poller.register(descriptor, select.POLLIN)
        while not self.told_to_end and (for_good or self.exit_code is None):
            ready = {descriptor for descriptor, _ in poller.poll()}
            if ready - {self.wake_read}:
                return
            self._reap()

    def end(self) -> None:
        """SIGTERM to the child's group, SIGKILL after the grace to all that still lives."""
        if self.exit_code is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.child, signal.SIGTERM)
        self._wait_for_children(self.grace_s, until_child=True)
        _signal(_descendants(os.getpid()), signal.SIGTERM)
        self._wait_for_children(1.0, until_child=False)
        deadline = time.monotonic() + _KILL_WAIT_S
        while self._reap() and time.monotonic() < deadline:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.child, signal.SIGKILL)
            _signal(_descendants(os.getpid()), signal.SIGKILL)
            time.sleep(0.01)

    def _wait_for_children(self, timeout_s: float, *, until_child: bool) -> None:
        deadline = time.monotonic() + timeout_s
        while self._reap() and not (until_child and self.exit_code is not None):
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                return
            select.select([self.wake_read], [], [], min(remaining, 0.05))

    def _reap(self) -> bool:
        """Collect the children that have ended; whether any is left."""
        with contextlib.suppress(BlockingIOError):
            os.read(self.wake_read, 512)
        try:
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return True
                if pid == self.child:
                    self.exit_code = os.waitstatus_to_exitcode(status)
        except ChildProcessError:
            return False


def _become(argv: Sequence[str]) -> None:
    """In the fork: turn into the server, in a group of its own; never returns."""
    try:
        os.setsid()
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        # For the case that the keeper itself is killed.
        _prctl(_SET_PDEATHSIG, signal.SIGTERM)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.dup2(2, 1)
        os.execvp(argv[0], list(argv))  # noqa: S606 - the leash exists to start a program
    except OSError as error:
        os.write(2, f"{argv[0]}: {error.strerror}\n".encode())
    finally:
        os._exit(127)


def _main(arguments: Sequence[str]) -> int:
    owner, grace_s, remove, *argv = arguments
    keeper = _Keeper(int(owner), float(grace_s), argv)
    keeper.watch(for_good=False)
    keeper.end()
    os.close(1)
    keeper.watch(for_good=True)
    if remove:
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(remove)
    return keeper.exit_code or 0


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
