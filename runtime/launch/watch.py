"""Follows the engine's event stream for one run: what the engine itself says, and when.

One thread reads the stream. Ends of containers are waited for here, because the engine announces an
end about 100 ms before its call to wait for one returns: it takes down the network in between.
"""

from __future__ import annotations

import threading
import time
from typing import Any, NamedTuple

from runtime.clock import wall_offset_ns
from runtime.errors import EngineUnavailable, HopbenchError
from runtime.launch import EngineEvent
from runtime.launch.engine import Client, calling
from runtime.launch.owner import RUN_LABEL

NAME_LABEL = "hopbench.name"
ROLE_LABEL = "hopbench.role"
_ACTIONS = ("create", "start", "die", "oom")
_RECONNECTS = 5


class End(NamedTuple):
    """An end that the engine announced: exit code and instant (monotonic)."""

    code: int
    at_ns: int


class EngineWatch:
    """The events of one run's containers so far. The engine stamps them with its wall clock."""

    def __init__(self, client: Client, run_id: str) -> None:
        self._client = client
        self._run_id = run_id
        self._changed = threading.Condition()
        self._events: list[EngineEvent] = []
        self._seen: set[tuple[int, str, str]] = set()
        self._ends: dict[str, End] = {}
        self._oom: set[str] = set()
        self._failure: HopbenchError | None = None
        self._closing = threading.Event()
        self._last_s = int(time.time())
        # Subscribed before the first container exists, so that no event can be missed.
        self._stream = self._subscribe()
        self._thread = threading.Thread(target=self._follow, name="engine-events", daemon=True)
        self._thread.start()

    def wait_end(self, container: str, timeout_s: float) -> End | None:
        """Wait until the engine announces a container's end; None after ``timeout_s``.

        Raises EngineUnavailable when the stream is lost.
        """
        with self._changed:
            self._changed.wait_for(
                lambda: container in self._ends or self._failure is not None, timeout_s
            )
            end = self._ends.get(container)
            if end is None and self._failure is not None:
                raise EngineUnavailable(
                    "the container engine's event stream is lost",
                    where=container[:12],
                    remedy="See whether the engine still runs",
                ) from self._failure
            return end

    def end(self, container: str) -> End | None:
        """The container's end, when it was announced already."""
        with self._changed:
            return self._ends.get(container)

    def out_of_memory(self, container: str, wait_s: float = 0.0) -> bool:
        """Whether the engine announced, or does within the time, that it ran out of memory."""
        with self._changed:
            return self._changed.wait_for(lambda: container in self._oom, wait_s)

    def events(self) -> tuple[EngineEvent, ...]:
        """All events so far, in order of time."""
        with self._changed:
            return tuple(sorted(self._events, key=lambda event: event.at_ns))

    def close(self) -> None:
        """Stop following. What was seen stays readable."""
        self._closing.set()
        self._stream.close()
        self._thread.join()

    def _subscribe(self) -> Any:
        with calling("follow the engine's events"):
            return self._client.events(
                since=self._last_s,
                filters={"type": "container", "label": f"{RUN_LABEL}={self._run_id}"},
                decode=True,
            )

    def _follow(self) -> None:
        """Read the stream until it is closed; take it up again where it broke."""
        failures = 0
        while not self._closing.is_set():
            try:
                if failures:
                    self._stream = self._subscribe()
                with calling("follow the engine's events"):
                    for event in self._stream:
                        self._record(event)
                        failures = 0
                    if self._closing.is_set():
                        return
                    raise ConnectionError("the stream ended")
            except HopbenchError as error:
                failures += 1
                if failures > _RECONNECTS:
                    with self._changed:
                        self._failure = error
                        self._changed.notify_all()
                    return
                self._closing.wait(0.2 * failures)

    def _record(self, event: dict[str, Any]) -> None:
        action = str(event.get("Action", ""))
        if action not in _ACTIONS:
            return
        container, wall_ns = str(event["Actor"]["ID"]), int(event["timeNano"])
        attributes = event["Actor"]["Attributes"]
        at_ns = wall_ns - wall_offset_ns()
        with self._changed:
            self._last_s = wall_ns // 1_000_000_000
            if (wall_ns, container, action) in self._seen:
                return
            self._seen.add((wall_ns, container, action))
            self._events.append(
                EngineEvent(at_ns, action, container, str(attributes.get(NAME_LABEL, "")))
            )
            if action == "oom":
                self._oom.add(container)
                self._changed.notify_all()
            elif action == "die":
                self._ends[container] = End(int(attributes.get("exitCode", -1)), at_ns)
                self._changed.notify_all()
