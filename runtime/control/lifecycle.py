"""When a running flow's containers live: always, while there is work, or one after another.

A lifecycle is turned again and again by the flow's thread, and never waits for long in between.
"""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from typing import Protocol

from runtime.broker import Broker
from runtime.control.crew import Crew, Member
from runtime.errors import StepExited
from runtime.launch import Exit
from runtime.model import Step, StepState
from runtime.modes import Deployment

RESTARTS, RESTARTS_WITHIN_S = 3, 60.0
"""A step's container that ends is started again so many times in so long; then the flow stops."""
_LIVENESS_S = 0.25
_SHORTEST_S, _LONGEST_S = 0.01, 0.25
_DRAIN_GRACE_S = 60.0
"""What an idle container is given to finish a message that came at the last moment."""
_ONE_SHOT_POLL_S = 0.02


class Lifecycle(Protocol):
    """What keeps a flow's containers."""

    def begin(self, timeout_s: float) -> None:
        """Start what must live from the beginning; return when it consumes."""

    def turn(self) -> float:
        """Do what is due; return how long nothing is to be done but collect, in seconds."""


class Deaths:
    """Counts containers that ended by themselves, and says when it is too often."""

    def __init__(self, deployment: Deployment, crew: Crew) -> None:
        self._deployment = deployment
        self._crew = crew
        self._at_s: defaultdict[int, deque[float]] = defaultdict(deque)

    def count(self, member: Member, ended: Exit) -> None:
        """Allow the restart of a container that ended, or raise StepExited."""
        at_s = self._at_s[member.step]
        now_s = time.monotonic()
        while at_s and now_s - at_s[0] > RESTARTS_WITHIN_S:
            at_s.popleft()
        if len(at_s) >= RESTARTS:
            error = self._deployment.exited(member.started, ended)
            raise StepExited(
                f"{error.what}; it was started again {RESTARTS} times within "
                f"{RESTARTS_WITHIN_S:g} s",
                where=error.where,
                remedy=error.remedy,
            )
        at_s.append(now_s)
        self._crew.count_restart(member.step)


class Realtime:
    """All containers live from start to stop; one that ends is started again."""

    def __init__(self, deployment: Deployment, crew: Crew, meanwhile: Callable[[], None]) -> None:
        self._steps = deployment.flow.steps
        self._crew = crew
        self._deaths = Deaths(deployment, crew)
        self._meanwhile = meanwhile

    def begin(self, timeout_s: float) -> None:
        """Start every replica of every step, in parallel."""
        self._crew.start(_slots(self._steps, range(len(self._steps))))
        self._crew.await_consuming(timeout_s, self._meanwhile)

    def turn(self) -> float:
        """Start again what has ended. Raises StepExited when it ends too often."""
        ended = self._crew.look()
        for member, exit_ in ended:
            self._deaths.count(member, exit_)
        self._crew.start([member.step for member, _ in ended])
        return _LIVENESS_S


class Warm:
    """An ordinary flow that keeps a container until it has been idle for the shut-down timeout."""

    def __init__(
        self,
        deployment: Deployment,
        crew: Crew,
        idle_s: float,
        tell: Callable[[bool], None],
        meanwhile: Callable[[], None],
    ) -> None:
        self._deployment = deployment
        self._crew = crew
        self._deaths = Deaths(deployment, crew)
        self._idle_s = idle_s
        self._tell = tell
        self._meanwhile = meanwhile
        self._active_s = [time.monotonic()] * len(deployment.flow.steps)
        self._spooled: dict[int, int] = {}

    def begin(self, timeout_s: float) -> None:
        """Nothing lives before there is work."""

    def turn(self) -> float:
        """Start containers of steps for which messages wait; end those that have been idle."""
        for member, exit_ in self._crew.look():
            if exit_.code:
                self._deaths.count(member, exit_)
        now_s = time.monotonic()
        wanted = []
        for index in range(len(self._active_s)):
            living = self._crew.alive(index)
            if self._has_work(index, living):
                self._active_s[index] = now_s
            if living:
                if now_s - self._active_s[index] >= self._idle_s:
                    self._crew.end(living, grace_s=_DRAIN_GRACE_S, meanwhile=self._meanwhile)
            elif self._active_s[index] == now_s:
                wanted.append(index)
        if wanted:
            self._tell(True)
            self._crew.start(_slots(self._deployment.flow.steps, wanted))
            return _SHORTEST_S
        alive = bool(self._crew.alive())
        self._tell(alive)
        return _pause_s(max(self._active_s)) if not alive else min(0.05, self._idle_s / 4)

    def _has_work(self, index: int, living: Sequence[Member]) -> bool:
        """Whether a step's messages wait, its containers are starting, or have written spans."""
        busy = any(one.state is StepState.STARTING for one in living)
        for one in living:
            size = one.started.spool.stat().st_size if one.started.spool.exists() else 0
            busy |= self._spooled.get(id(one), 0) != size
            self._spooled[id(one)] = size
        queue = self._deployment.wiring.queues[index]
        return busy or self._deployment.broker.depth(queue).ready > 0


class OneByOne:
    """An ordinary flow, read strictly: a container handles one message, ends, and the next starts.

    The message furthest along goes first, so an execution is finished before the next one begins.
    """

    def __init__(
        self,
        deployment: Deployment,
        crew: Crew,
        tell: Callable[[bool], None],
        meanwhile: Callable[[], None],
        is_ending: Callable[[], bool],
    ) -> None:
        self._deployment = deployment
        self._crew = crew
        self._deaths = Deaths(deployment, crew)
        self._tell = tell
        self._meanwhile = meanwhile
        self._is_ending = is_ending
        self._active_s = time.monotonic()
        self._queues = deployment.wiring.queues

    def begin(self, timeout_s: float) -> None:
        """Nothing lives before there is work."""

    def turn(self) -> float:
        """Take one message one step further, where one waits."""
        broker: Broker = self._deployment.broker
        for index in reversed(range(len(self._queues))):
            if broker.depth(self._queues[index]).ready:
                self._tell(True)
                self._handle_one(index)
                self._active_s = time.monotonic()
                return 0.0
        self._tell(False)
        return _pause_s(self._active_s)

    def _handle_one(self, index: int) -> None:
        self._crew.start([index], one_shot=True)
        while not self._is_ending():
            for member, ended in self._crew.look():
                if ended.code:
                    self._deaths.count(member, ended)
            living = self._crew.alive()
            if not living:
                return
            living[0].started.instance.wait(_ONE_SHOT_POLL_S)
            self._meanwhile()


def _slots(steps: Sequence[Step], indexes: Sequence[int]) -> list[int]:
    """A step's place for each of its replicas."""
    return [index for index in indexes for _ in range(steps[index].replicas)]


def _pause_s(active_s: float) -> float:
    """How long to leave queues alone: the longer, the longer nothing came."""
    return min(_LONGEST_S, max(_SHORTEST_S, (time.monotonic() - active_s) / 20))
