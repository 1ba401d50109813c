"""The Launcher protocol: how a step becomes a container or a process, and ends again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from runtime.model import Limits, Revision


@dataclass(frozen=True, slots=True)
class Image:
    """What an instance is started from: a container image's reference, or a folder.

    ``argv`` is the default command, ``env`` is set below what ``start`` is given.
    """

    reference: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Spec:
    """One instance to be started.

    ``role`` is what it is for (``step``, ``load``, ``service``, ``floor``, ``broker``), ``name`` is
    unique in the run and is the instance's host name on the run's network; ``spool`` is a folder of
    the host that it may write to, seen inside under the path given by :meth:`Launcher.inside`.
    ``ports`` are made reachable from the host. ``data`` is a folder of the host, and the path under
    which a container has it, to write to; processes have none.
    """

    name: str
    role: str
    image: Image
    env: Mapping[str, str]
    limits: Limits
    spool: Path | None = None
    ports: tuple[int, ...] = ()
    argv: tuple[str, ...] = ()
    data: tuple[Path, str] | None = None


@dataclass(frozen=True, slots=True)
class Exit:
    """How an instance ended. ``signal`` is the last one we sent, if any."""

    code: int
    oom_killed: bool
    signal: str | None
    ended_ns: int


@dataclass(frozen=True, slots=True)
class EngineEvent:
    """What the engine itself said about an instance: ``create``, ``start``, ``die``, ``oom``.

    ``at_ns`` is on the host's monotonic clock, converted from the engine's wall clock.
    """

    at_ns: int
    action: str
    instance_id: str
    name: str


class Instance(Protocol):
    """A started container or process."""

    @property
    def id(self) -> str:
        """The engine's id, or the process id with its start time."""

    @property
    def name(self) -> str:
        """The name it was started under."""

    @property
    def pid(self) -> int | None:
        """Its first process as this host sees it; None where the host cannot see it."""

    @property
    def create_ns(self) -> int:
        """When we asked for it."""

    @property
    def started_ns(self) -> int:
        """When the call that started it returned."""

    def address(self, port: int) -> tuple[str, int]:
        """Host and port at which this host reaches a port of the instance."""

    def addresses(self) -> tuple[str, ...]:
        """IP addresses under which the run's other instances reach it."""

    def alive(self) -> bool:
        """Whether it runs, as the engine says it now."""

    def wait(self, timeout_s: float) -> Exit | None:
        """Wait for its end; None when it still runs after ``timeout_s``."""

    def freeze(self) -> None:
        """Let it have no processor time until it is thawed; it keeps its connections. Idempotent.

        Raises LaunchError when it has ended.
        """

    def thaw(self) -> None:
        """Let it go on. Does nothing where it is not frozen, or has ended."""

    def stop(self, *, grace_s: float) -> Exit:
        """Thaw it, SIGTERM, then SIGKILL after ``grace_s``; then remove every trace. Idempotent."""

    def logs(self, last: int = 20) -> str:
        """The last lines it wrote to its standard streams. Also after its end, until removed."""

    def connections(self) -> tuple[tuple[str, int], ...]:
        """Remote ends of its established TCP connections, read from its own /proc net tables."""


class Launcher(Protocol):
    """Starts instances that belong to one run, and knows which of them live."""

    name: str
    isolates: bool
    """Whether an instance is a container; claims about containers need it."""

    def prepare(self, revision: Revision) -> Image:
        """Build or unpack what a step is started from. Outside the measured time."""

    def worker_image(self) -> Image:
        """The image that steps are built on, without a component: services and floor use it."""

    def load_image(self) -> Image:
        """The image of the load generator."""

    def script(self, image: Image, file: str, *arguments: str) -> tuple[str, ...]:
        """The command that runs a Python file of a prepared component's folder."""

    def inside(self, path: Path) -> str:
        """The path under which an instance sees its ``spool`` folder."""

    def host_name(self, name: str) -> str:
        """The host at which instances reach the one called ``name``."""

    def start(self, spec: Spec) -> Instance:
        """Start one instance. Safe to call from several threads."""

    def events(self) -> tuple[EngineEvent, ...]:
        """The engine's own record of this run's instances so far, in order of time."""

    def close(self) -> None:
        """Stop and remove everything that carries this run's label. Idempotent."""
