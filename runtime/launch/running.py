"""One started process, as the launcher hands it out.

On Linux the kernel kills it when the bench ends, however that happens; elsewhere the next run finds
it by the marks in its environment.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import psutil

from runtime.clock import now_ns
from runtime.errors import LaunchError
from runtime.launch import Exit
from runtime.launch.owner import start_time

_KEPT_BYTES = 256 * 1024
_KILL_TIMEOUT_S = 30.0


@cache
def _leash() -> tuple[str, ...]:
    """A command that gives what it runs a parent death signal: util-linux's setpriv, on Linux.

    It replaces itself by its command in about 1 ms. Python could set the signal only between fork
    and exec, where it must not run code when it has threads.
    """
    program = shutil.which("setpriv") if sys.platform == "linux" else None
    if program is None:
        return ()
    command = (program, "--pdeathsig", "KILL", "--")
    # The program of the same name in BusyBox does not know the option.
    tried = subprocess.run([*command, "true"], capture_output=True, check=False)
    return command if tried.returncode == 0 else ()


def spawn(
    argv: Sequence[str], env: Mapping[str, str], *, cwd: Path, log: Path, where: str
) -> subprocess.Popen[bytes]:
    """Start a process that leads a session of its own, its output going to ``log``.

    Raises LaunchError when the program is not there or cannot be run.
    """
    program = shutil.which(argv[0], path=env.get("PATH", os.defpath))
    if program is None:
        raise LaunchError(
            f"there is no program {argv[0]!r}", where=where, remedy="Install it, or mend PATH"
        )
    try:
        with log.open("wb") as file:
            return subprocess.Popen(
                [*_leash(), program, *argv[1:]],
                env=dict(env),
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
    except OSError as error:
        raise LaunchError(
            f"cannot start {argv[0]!r}: {error.strerror}",
            where=where,
            remedy="See whether the machine has processes and files to spare",
        ) from error


class ProcessInstance:
    """A process. A thread of its own waits for its end, so that the instant is known to us."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        name: str,
        log: Path,
        create_ns: int,
        started_ns: int,
    ) -> None:
        self._process = process
        self._name = name
        self._log = log
        self._id = f"{process.pid}:{start_time(process.pid)}"
        self._create_ns = create_ns
        self._started_ns = started_ns
        self._signal: str | None = None
        self._exit: Exit | None = None
        self._lines: str | None = None
        self._ended = threading.Event()
        # Held while it is signalled or collected: a collected process' number may be another's.
        self._collecting = threading.Lock()
        self._stopping = threading.Lock()
        self._frozen = False
        threading.Thread(target=self._await_end, name=f"wait-{name}", daemon=True).start()

    @property
    def id(self) -> str:
        """``PID:START``."""
        return self._id

    @property
    def name(self) -> str:
        """The name it was started under."""
        return self._name

    @property
    def pid(self) -> int | None:
        """Its process id."""
        return self._process.pid

    @property
    def create_ns(self) -> int:
        """When we were asked for it."""
        return self._create_ns

    @property
    def started_ns(self) -> int:
        """When the call that started it returned."""
        return self._started_ns

    def address(self, port: int) -> tuple[str, int]:
        """The port itself: it is on this host."""
        return "127.0.0.1", port

    def addresses(self) -> tuple[str, ...]:
        """Loopback: all of a run's processes share it."""
        return ("127.0.0.1",)

    def alive(self) -> bool:
        """Whether it runs."""
        return not self._ended.is_set()

    def wait(self, timeout_s: float) -> Exit | None:
        """Wait for its end; None when it still runs after ``timeout_s``."""
        return self._exit if self._ended.wait(timeout_s) else None

    def freeze(self) -> None:
        """SIGSTOP to the process and all of its group. Idempotent.

        Raises LaunchError when it has ended.
        """
        with self._collecting:
            if self._has_ended():
                raise LaunchError(
                    "it cannot be frozen: it has ended",
                    where=f"process {self._name} ({self._id})",
                    remedy="See its log",
                )
            os.killpg(self._process.pid, signal.SIGSTOP)
            self._frozen = True

    def thaw(self) -> None:
        """SIGCONT to the group. Does nothing where it is not frozen, or has ended."""
        with self._collecting:
            if self._frozen and not self._has_ended():
                os.killpg(self._process.pid, signal.SIGCONT)
            self._frozen = False

    def stop(self, *, grace_s: float) -> Exit:
        """SIGTERM to the process, SIGKILL to it and all of its group after ``grace_s``. Idempotent.

        Raises LaunchError when it survives SIGKILL.
        """
        with self._stopping:
            self.thaw()
            if not self._ended.is_set():
                self._send(signal.SIGTERM)
            if not self._ended.wait(grace_s):
                self._send(signal.SIGKILL)
            if not self._ended.wait(_KILL_TIMEOUT_S) or self._exit is None:
                raise LaunchError(
                    f"it still runs {_KILL_TIMEOUT_S:.0f} s after SIGKILL",
                    where=f"process {self._name} ({self._id})",
                    remedy="It hangs in the kernel: see what it waits for (ps -o wchan)",
                )
            if self._lines is None:
                self._lines = self._read_log()
                self._log.unlink(missing_ok=True)
            return self._exit

    def logs(self, last: int = 20) -> str:
        """The last lines it wrote to its standard streams."""
        text = self._read_log() if self._lines is None else self._lines
        return "\n".join(text.splitlines()[-last:])

    def connections(self) -> tuple[tuple[str, int], ...]:
        """Remote ends of the established TCP connections of the process and its children."""
        ends: list[tuple[str, int]] = []
        with contextlib.suppress(psutil.NoSuchProcess):
            leader = psutil.Process(self._process.pid)
            for process in (leader, *leader.children(recursive=True)):
                with contextlib.suppress(psutil.NoSuchProcess):
                    ends += [
                        (str(each.raddr.ip).removeprefix("::ffff:"), int(each.raddr.port))
                        for each in process.net_connections(kind="tcp")
                        if each.status == psutil.CONN_ESTABLISHED and each.raddr
                    ]
        return tuple(ends)

    def _await_end(self) -> None:
        pid = self._process.pid
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        ended_ns = now_ns()
        with self._collecting:
            # Not collected yet, so that its number, and that of its group, is still its own.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)
            code = self._process.wait()
        # As the engine counts: 128 + the signal's number.
        self._exit = Exit(code if code >= 0 else 128 - code, False, self._signal, ended_ns)
        self._ended.set()

    def _send(self, number: signal.Signals) -> None:
        """Send a signal unless it has ended meanwhile: then the signal was not needed."""
        pid = self._process.pid
        with self._collecting:
            if self._has_ended():
                return
            self._signal = number.name
            if number is signal.SIGKILL:
                os.killpg(pid, number)
            else:
                os.kill(pid, number)

    def _has_ended(self) -> bool:
        """Whether it has ended, collected or not. Called with ``_collecting`` held."""
        if self._process.returncode is not None:
            return True
        options = os.WEXITED | os.WNOWAIT | os.WNOHANG
        return os.waitid(os.P_PID, self._process.pid, options) is not None

    def _read_log(self) -> str:
        with self._log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _KEPT_BYTES))
            return file.read().decode(errors="replace")
