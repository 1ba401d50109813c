"""A broker and a launcher in memory, for tests of what the platform does with real ones."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from runtime.broker import Delivery, Message, QueueDepth, Route, Settled, Topology
from runtime.errors import BrokerError, BrokerUnavailable, LaunchError
from runtime.launch import EngineEvent, Exit, Image, Spec
from runtime.model import Revision
from runtime.spans import Mark, Spool


class MemoryServer:
    """The queues that all connections see. ``is_up`` False: nobody gets a connection."""

    def __init__(self) -> None:
        self.queues: dict[str, deque[Message]] = {}
        self.bindings: dict[tuple[str, str], str] = {}
        self.is_up = True

    def connect(self, _url: str, *, name: str, timeout_s: float = 10.0) -> MemoryBroker:
        """Takes the place of :func:`runtime.broker.connect`."""
        if not self.is_up:
            raise BrokerUnavailable(f"{name}: nobody answers within {timeout_s:g} s")
        return MemoryBroker(self)


class MemoryBroker:
    """One connection: the part of the Broker protocol that the platform uses."""

    def __init__(self, server: MemoryServer) -> None:
        self._server = server
        self._consumed: list[str] = []
        self._held: dict[int, tuple[str, Message]] = {}
        self._settled: list[tuple[Settled | None, bool]] = []
        self._woken = threading.Event()
        self._tag = 0

    def declare(self, topology: Topology) -> None:
        """Make the queues."""
        for queue in topology.queues:
            self._server.queues.setdefault(queue.name, deque())
        for binding in topology.bindings:
            self._server.bindings[topology.exchange, binding.key] = binding.queue

    def delete(self, topology: Topology) -> None:
        """Remove the queues."""
        for queue in topology.queues:
            self._server.queues.pop(queue.name, None)
        for binding in topology.bindings:
            self._server.bindings.pop((topology.exchange, binding.key), None)

    def publish(self, route: Route, message: Message, settled: Settled | None = None) -> int:
        """Put a message where its key leads."""
        queue = self._server.queues.get(self._server.bindings.get((route.exchange, route.key), ""))
        if queue is not None:
            queue.append(message)
        self._settled.append((settled, queue is not None))
        return time.monotonic_ns()

    def settle(self, _timeout_s: float) -> bool:
        """All is settled at once."""
        settled, self._settled = self._settled, []
        for each, accepted in settled:
            if each is not None:
                each(accepted, time.monotonic_ns())
        return True

    def seal(self, topology: Topology) -> None:
        """Remove what leads to the queues."""
        for binding in topology.bindings:
            self._server.bindings.pop((topology.exchange, binding.key), None)

    def hasten(self, _topology: Topology) -> int:
        """Nothing is ever published later here."""
        return 0

    def subscribe(self, queue: str, *, prefetch: int) -> None:
        """Begin to consume."""
        assert prefetch > 0
        self._consumed.append(queue)

    def receive(self, timeout_s: float) -> Delivery | None:
        """The next message; a wait ends when it is woken."""
        for name in self._consumed:
            queue = self._server.queues.get(name)
            if queue:
                self._tag += 1
                self._held[self._tag] = (name, queue.popleft())
                return Delivery(self._held[self._tag][1], self._tag, time.monotonic_ns(), False)
        if timeout_s:
            self._woken.wait(timeout_s)
            self._woken.clear()
        return None

    def ack(self, delivery: Delivery) -> None:
        """It is handled."""
        assert isinstance(delivery.tag, int)
        del self._held[delivery.tag]

    def wake(self) -> None:
        """End a wait."""
        self._woken.set()

    def depth(self, queue: str) -> QueueDepth:
        """Its length."""
        if queue not in self._server.queues:
            raise BrokerError(f"there is no queue {queue!r}")
        return QueueDepth(len(self._server.queues[queue]), 0)

    def close(self) -> None:
        """What is held goes back."""
        for name, message in self._held.values():
            if name in self._server.queues:
                self._server.queues[name].appendleft(message)
        self._held.clear()


class MemoryInstance:
    """A container that only says that it consumes."""

    pid = None
    create_ns = started_ns = 0

    def __init__(self, name: str, number: int) -> None:
        self.name, self.id = name, f"container-{number}"
        self._exit: Exit | None = None
        self._ended = threading.Event()

    def end(self, code: int, *, oom_killed: bool = False) -> None:
        """Let it end by itself."""
        self._exit = self._exit or Exit(code, oom_killed, None, time.monotonic_ns())
        self._ended.set()

    def alive(self) -> bool:
        """Whether it runs."""
        return not self._ended.is_set()

    def wait(self, timeout_s: float) -> Exit | None:
        """Wait for its end."""
        self._ended.wait(timeout_s)
        return self._exit

    def stop(self, *, grace_s: float) -> Exit:
        """End it."""
        assert grace_s >= 0
        self.end(0)
        assert self._exit is not None
        return self._exit

    def logs(self, last: int = 20) -> str:
        """What it said."""
        return f"{self.name} said {last}"


class MemoryLauncher:
    """Starts containers that do nothing. ``refuse`` says which specs cannot be started."""

    name, isolates = "memory", True

    def __init__(self) -> None:
        self.instances: list[MemoryInstance] = []
        self.refuse: Callable[[Spec], bool] = lambda _: False
        self.consumes: Callable[[Spec], bool] = lambda _: True
        self._lock = threading.Lock()

    def prepare(self, revision: Revision) -> Image:
        """An image by the revision's digest."""
        return Image(revision.digest, ("run",))

    def inside(self, path: Path) -> str:
        """The same path."""
        return str(path)

    def start(self, spec: Spec) -> Any:
        """Start one; its spool says that it consumes."""
        if self.refuse(spec):
            raise LaunchError("cannot be started", where=spec.name)
        with self._lock:
            instance = MemoryInstance(spec.name, len(self.instances) + 1)
            self.instances.append(instance)
        spool = Spool(spec.env["HOPBENCH_SPOOL"], step=0, clock="test")
        if self.consumes(spec):
            spool.mark(Mark.CONSUMING, time.monotonic_ns())
        spool.close()
        return instance

    def alive(self) -> list[str]:
        """Names of those that run."""
        return [one.name for one in self.instances if one.alive()]

    def events(self) -> tuple[EngineEvent, ...]:
        """None are recorded."""
        return ()
