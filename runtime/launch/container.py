"""One started container, as the launcher hands it out."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from runtime.errors import LaunchError
from runtime.launch import Exit, Spec
from runtime.launch.engine import CONFLICT, NOT_FOUND, Allowing, Client, calling
from runtime.launch.sockets import established
from runtime.launch.watch import End, EngineWatch

_KEPT_LINES = 1000
_LATE_OOM_S = 1.0
"""How long to wait for word of memory running out, where something else than us killed it."""
_KILL_TIMEOUT_S = 30.0
_KILLED = 137
"""The exit code of a process that SIGKILL ended: 128 + 9."""
_TABLES = ("/proc/net/tcp", "/proc/net/tcp6")


class DockerInstance:
    """A container. Its end is taken from the engine's event stream."""

    def __init__(
        self,
        client: Client,
        watch: EngineWatch,
        remove_later: Callable[[DockerInstance], Future[str]],
        container: str,
        spec: Spec,
        create_ns: int,
        started_ns: int,
    ) -> None:
        self._client = client
        self._watch = watch
        self._remove_later = remove_later
        self._spec = spec
        self._id = container
        self._create_ns = create_ns
        self._started_ns = started_ns
        self._stopping = threading.Lock()
        self._freezing = threading.Lock()
        self._frozen = False
        self._signal: str | None = None
        self._exit: Exit | None = None
        self._removal: Future[str] | None = None
        self._state: dict[str, Any] | None = None

    @property
    def id(self) -> str:
        """The engine's id of the container."""
        return self._id

    @property
    def name(self) -> str:
        """The name it was started under."""
        return self._spec.name

    @property
    def pid(self) -> int | None:
        """Its first process as this host sees it; None where the engine is on another machine."""
        pid = int(self._inspect()["State"]["Pid"])
        try:
            with open(f"/proc/{pid}/cgroup", encoding="ascii") as file:
                return pid if self._id in file.read() else None
        except OSError:
            return None

    @property
    def create_ns(self) -> int:
        """When we asked the engine to create it."""
        return self._create_ns

    @property
    def started_ns(self) -> int:
        """When the call that started it returned."""
        return self._started_ns

    def address(self, port: int) -> tuple[str, int]:
        """A published port on loopback; else the container's address, which only Linux routes."""
        network = self._inspect()["NetworkSettings"]
        published = network["Ports"].get(f"{port}/tcp")
        if published:
            return str(published[0]["HostIp"]), int(published[0]["HostPort"])
        return self.addresses()[0], port

    def addresses(self) -> tuple[str, ...]:
        """Its addresses on the networks it joined."""
        networks = self._inspect()["NetworkSettings"]["Networks"]
        return tuple(str(network["IPAddress"]) for network in networks.values())

    def alive(self) -> bool:
        """Whether it runs, as the engine says it now."""
        if self._watch.end(self._id) is not None:
            return False
        with Allowing("look at a container", NOT_FOUND, where=self._where()):
            return bool(self._client.inspect_container(self._id)["State"]["Running"])
        return False

    def wait(self, timeout_s: float) -> Exit | None:
        """Wait for its end; None when it still runs after ``timeout_s``."""
        if self._exit is not None:
            return self._exit
        end = self._watch.wait_end(self._id, timeout_s)
        return None if end is None else self._settle(end)

    def freeze(self) -> None:
        """Let it have no processor time until it is thawed. Idempotent.

        Raises LaunchError when it has ended.
        """
        with self._freezing:
            if not self._frozen:
                with calling("freeze a container", where=self._where()):
                    self._client.pause(self._id)
                self._frozen = True

    def thaw(self) -> None:
        """Let it go on. Does nothing where it is not frozen, or has ended."""
        with self._freezing:
            if not self._frozen:
                return
            try:
                with Allowing("thaw a container", NOT_FOUND, CONFLICT, where=self._where()):
                    self._client.unpause(self._id)
            except LaunchError:
                # The engine's word for "not paused" is a server error: it was killed meanwhile.
                if self.alive():
                    raise
            self._frozen = False

    def stop(self, *, grace_s: float) -> Exit:
        """SIGTERM, then SIGKILL after ``grace_s``. It is removed in the background. Idempotent.

        Raises LaunchError when it survives SIGKILL.
        """
        with self._stopping:
            if self._removal is not None:
                assert self._exit is not None
                return self._exit
            self.thaw()
            end = self._watch.end(self._id)
            if end is None:
                self._send("SIGTERM")
                end = self._watch.wait_end(self._id, grace_s)
            if end is None:
                self._send("SIGKILL")
                end = self._watch.wait_end(self._id, _KILL_TIMEOUT_S)
            if end is None:
                raise LaunchError(
                    f"it still runs {_KILL_TIMEOUT_S:.0f} s after SIGKILL",
                    where=self._where(),
                    remedy="See the container engine's log; doctor --clean removes it later",
                )
            exit_ = self._settle(end)
            self._removal = self._remove_later(self)
            return exit_

    def logs(self, last: int = 20) -> str:
        """The last lines it wrote. At most 1000 are kept once it has been stopped."""
        text = self.read_logs(last) if self._removal is None else self._removal.result()
        return "\n".join(text.splitlines()[-last:])

    def read_logs(self, last: int = _KEPT_LINES) -> str:
        """Ask the engine for the last lines."""
        with Allowing("read a container's log", NOT_FOUND, where=self._where()):
            return self._client.logs(self._id, tail=last).decode(errors="replace")
        return ""

    def connections(self) -> tuple[tuple[str, int], ...]:
        """Remote ends of its established TCP connections, those of its whole network namespace."""
        pid = self.pid
        texts: list[str] = []
        if pid is not None:
            try:
                for table in _TABLES:
                    with open(table.replace("/proc", f"/proc/{pid}"), encoding="ascii") as file:
                        texts.append(file.read())
                return established("\n".join(texts))
            except OSError:
                # It may have ended just now, or we may not look into it; the engine knows.
                texts.clear()
        with calling("read a container's connections", where=self._where()):
            job = self._client.exec_create(self._id, ["cat", *_TABLES], stderr=False)
            return established(self._client.exec_start(job["Id"]).decode())

    def run(self, *command: str) -> str:
        """Run a command inside and return what it prints."""
        with calling(f"run {command[0]}", where=self._where()):
            job = self._client.exec_create(self._id, list(command))
            return self._client.exec_start(job["Id"]).decode(errors="replace")

    def _where(self) -> str:
        return f"container {self.name} ({self._id[:12]})"

    def _inspect(self) -> dict[str, Any]:
        """What the engine knows of it; asked for once, while it runs."""
        if self._state is None:
            with calling("look at a container", where=self._where()):
                self._state = self._client.inspect_container(self._id)
        return self._state

    def _send(self, signal: str) -> None:
        """Send a signal; that it has ended meanwhile is fine, then the signal was not needed."""
        with Allowing(f"send {signal}", NOT_FOUND, CONFLICT, where=self._where()):
            self._client.kill(self._id, signal)
            self._signal = signal

    def _settle(self, end: End) -> Exit:
        """Make the record of its end, once."""
        if self._exit is None:
            oom = self._watch.out_of_memory(self._id)
            if end.code == _KILLED and self._signal != "SIGKILL" and not oom:
                # Nobody of ours killed it: ask, since the announcement may come after the end.
                oom = self._ran_out_of_memory()
            self._exit = Exit(end.code, oom, self._signal, end.at_ns)
        return self._exit

    def _ran_out_of_memory(self) -> bool:
        with Allowing("look at a container", NOT_FOUND, where=self._where()):
            self._client.wait(self._id)
            state = self._client.inspect_container(self._id)["State"]
            # The engine learns of it from the kernel on another way than of the end, now and then
            # later: its record of the end may then say false, and the announcement come after it.
            return bool(state["OOMKilled"]) or self._watch.out_of_memory(self._id, _LATE_OOM_S)
        return False
