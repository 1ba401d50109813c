"""The containers of one flow: started side by side, looked after, and ended.

Its methods belong to the flow's thread; what :meth:`Crew.status` and :meth:`Crew.logs` say may be
asked from any.
"""

from __future__ import annotations

import itertools
import json
import re
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.control import retention
from runtime.errors import FlowError, InputError
from runtime.launch import Exit, Instance
from runtime.model import StepState
from runtime.modes import POLL_S, Deployment, Started
from runtime.spool import SpoolTail, marks
from runtime.store import Store

STARTUP_FILE = "startup.json"
_KEPT_ENDED = 3
"""Containers of a step whose logs can be read after their end."""
_SHUTDOWN_HOOK_S = 90.0
"""Above the limit that the worker itself sets to a hook."""
_MEANWHILE_S = 0.25
"""How often something else is done while containers take their time to end."""
_NAME_CHARACTERS = 24
"""Of a flow's and of a step's name in that of a container, which may have 63."""


@dataclass(slots=True)
class Member:
    """One container. ``is_unasked`` until we end it ourselves."""

    started: Started
    tail: SpoolTail
    state: StepState = StepState.STARTING
    is_unasked: bool = True

    @property
    def step(self) -> int:
        """The step's place in the flow."""
        return self.started.step


@dataclass(frozen=True, slots=True)
class StepStatus:
    """A step as it is now. ``error`` is how its last container that ended by itself ended."""

    id: str
    component: str
    revision: str
    state: StepState
    containers: tuple[str, ...] = ()
    restarts: int = 0
    error: str | None = None


class Crew:
    """The containers of one flow, from one start to the end after it."""

    def __init__(
        self, deployment: Deployment, store: Store, *, grace_s: float, kept: int | None = None
    ) -> None:
        self._deployment = deployment
        self._store = store
        self._grace_s = grace_s
        self._kept = kept
        self._flow = deployment.flow.name
        self._serial = itertools.count(1)
        self._members: tuple[Member, ...] = ()
        self._pending: Counter[int] = Counter()
        self._restarts: Counter[int] = Counter()
        self._errors: dict[int, str] = {}
        self._ended: dict[int, deque[Instance]] = {}
        self._written: dict[int, deque[Path]] = {}
        self._has_startup = self._startup_state() is not None

    # -- starting --------------------------------------------------------------------------------

    def start(self, steps: Sequence[int], *, one_shot: bool = False) -> list[Member]:
        """Start a container for each entry, in parallel. Raises the first error, with none left."""
        if not steps:
            return []
        self._pending.update(steps)
        before = Counter(member.step for member in self._members)
        jobs = []
        for step in steps:
            jobs.append((step, before[step] == 0))
            before[step] += 1
        try:
            with ThreadPoolExecutor(len(jobs), thread_name_prefix="start") as pool:
                futures = [
                    pool.submit(self._start_one, step, is_first, one_shot)
                    for step, is_first in jobs
                ]
            errors = [error for future in futures if (error := future.exception()) is not None]
            begun = [future.result() for future in futures if future.exception() is None]
            self._members += tuple(begun)
        finally:
            self._pending.subtract(steps)
        if errors:
            self.end(begun)
            raise errors[0]
        return begun

    def await_consuming(self, timeout_s: float, meanwhile: Callable[[], None]) -> None:
        """Return when all consume. Raises StepExited for one that ended, FlowError after the time.

        ``meanwhile`` is called again and again.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            for member, ended in self.look():
                raise self._deployment.exited(member.started, ended)
            waiting = [one for one in self._members if one.state is StepState.STARTING]
            if not waiting:
                return
            if time.monotonic() > deadline:
                names = ", ".join(sorted({self._id(one.step) for one in waiting}))
                raise FlowError(
                    f"not consuming after {timeout_s:g} s",
                    where=f"flow {self._flow!r}, step {names}",
                    remedy="See the step's log",
                )
            meanwhile()
            time.sleep(POLL_S)

    # -- looking after them ----------------------------------------------------------------------

    def look(self) -> list[tuple[Member, Exit]]:
        """See who consumes by now; return who has ended unasked. Those are gone from here."""
        ended = []
        for member in self._members:
            if member.state is StepState.STARTING:
                self._see_whether_it_consumes(member)
            exit_ = member.started.instance.wait(0.0)
            if exit_ is None:
                continue
            if member.is_unasked:
                member.started.exit = exit_
                ended.append((member, exit_))
                if exit_.code:
                    error = self._deployment.exited(member.started, exit_)
                    self._errors[member.step] = str(error)
            self._let_go(member)
        return ended

    def alive(self, step: int | None = None) -> list[Member]:
        """Those that have not ended, of one step or of all."""
        return [one for one in self._members if step is None or one.step == step]

    def count_restart(self, step: int) -> None:
        """Note that a step's container is started in the place of one that ended."""
        self._restarts[step] += 1

    # -- ending ----------------------------------------------------------------------------------

    def end(
        self,
        members: Sequence[Member] | None = None,
        *,
        grace_s: float | None = None,
        meanwhile: Callable[[], None] | None = None,
    ) -> None:
        """End them, or all, side by side; return when none is left.

        ``meanwhile`` is called again and again, where the end may take long.
        """
        chosen = list(self._members if members is None else members)
        if not chosen:
            return
        for member in chosen:
            member.is_unasked = False
            member.state = StepState.SHUTTING_DOWN
        grace = self._grace_s if grace_s is None else grace_s
        with ThreadPoolExecutor(len(chosen), thread_name_prefix="stop") as pool:
            futures = [pool.submit(one.started.instance.stop, grace_s=grace) for one in chosen]
            while meanwhile is not None and wait(futures, _MEANWHILE_S).not_done:
                meanwhile()
        errors = []
        for member, future in zip(chosen, futures, strict=True):
            error = future.exception()
            if error is not None:
                errors.append(error)
                continue
            member.started.exit = future.result()
            self._let_go(member)
        if errors:
            raise errors[0]

    def run_shutdown_hook(self, meanwhile: Callable[[], None]) -> str | None:
        """Run the flow's shutdown hook where its startup hook left a state; what went wrong.

        ``meanwhile`` is called again and again: a hook may take longer than a broker waits for a
        sign of life.
        """
        state = self._startup_state()
        if state is None:
            return None
        self._store.startup.delete(self._flow)
        label = self._label(0)
        started = self._deployment.start_step(
            0,
            one_shot=True,
            label=label,
            environment={"ELASTICIO_HOOK_SHUTDOWN": "true", **self._startup_file(label)},
            files={STARTUP_FILE: json.dumps(state["state"]).encode()},
        )
        deadline = time.monotonic() + _SHUTDOWN_HOOK_S
        try:
            while (ended := started.instance.wait(_MEANWHILE_S)) is None:
                if time.monotonic() > deadline:
                    break
                meanwhile()
        finally:
            started.exit = started.instance.stop(grace_s=0.0)
        problem = None
        if ended is None:
            problem = f"the shutdown hook still ran after {_SHUTDOWN_HOOK_S:g} s; it was ended"
        elif ended.code:
            problem = f"the shutdown hook: {self._deployment.exited(started, ended)}"
        return problem

    # -- for any thread --------------------------------------------------------------------------

    def status(self) -> tuple[StepStatus, ...]:
        """Each step as it is now."""
        members = self._members
        found = []
        for index, step in enumerate(self._deployment.flow.steps):
            mine = [one for one in members if one.step == index]
            states = [one.state for one in mine]
            if self._pending[index] > 0:
                states.append(StepState.STARTING)
            found.append(
                StepStatus(
                    id=step.id,
                    component=step.component,
                    revision=self._deployment.revisions[index].digest,
                    state=next((one for one in _TELLING if one in states), StepState.SLEEPING),
                    containers=tuple(one.started.instance.id for one in mine),
                    restarts=self._restarts[index],
                    error=self._errors.get(index),
                )
            )
        return tuple(found)

    def logs(self, step: str, last: int) -> str:
        """The last lines of a step's containers, those that ended first."""
        ids = [one.id for one in self._deployment.flow.steps]
        if step not in ids:
            raise InputError(
                f"flow {self._flow!r} has no step {step!r}", remedy=f"It has {', '.join(ids)}"
            )
        index = ids.index(step)
        living = [one.started.instance for one in self._members if one.step == index]
        texts = [one.logs(last) for one in (*self._ended.get(index, ()), *living)]
        return "\n".join("\n".join(texts).strip("\n").splitlines()[-last:])

    # -- inside ----------------------------------------------------------------------------------

    def _start_one(self, step: int, is_first: bool, one_shot: bool) -> Member:
        label = self._label(step)
        told: Mapping[str, str] = {}
        if step == 0 and is_first and not self._has_startup:
            # The flow's hooks are run once, by the container that its trigger starts in.
            told = {"ELASTICIO_STARTUP_REQUIRED": "true", **self._startup_file(label)}
        started = self._deployment.start_step(
            step, one_shot=one_shot, environment=told, label=label
        )
        return Member(started, SpoolTail(started.spool))

    def _see_whether_it_consumes(self, member: Member) -> None:
        if "consuming" in marks(member.tail.new_records()):
            member.state = StepState.RUNNING
            self._keep_startup_state(member)

    def _let_go(self, member: Member) -> None:
        self._keep_startup_state(member)
        instance = member.started.instance
        instance.stop(grace_s=0.0)
        self._ended.setdefault(member.step, deque(maxlen=_KEPT_ENDED)).append(instance)
        self._members = tuple(one for one in self._members if one is not member)
        written = self._written.setdefault(member.step, deque())
        written.append(member.started.spool.parent)
        while self._kept is not None and len(written) > self._kept:
            retention.forget(written.popleft())

    def _keep_startup_state(self, member: Member) -> None:
        file = member.started.spool.with_name(STARTUP_FILE)
        if member.step == 0 and not self._has_startup and file.exists():
            state = json.loads(file.read_bytes())
            self._store.startup.put(self._flow, {"state": state})
            self._has_startup = True

    def _startup_state(self) -> dict[str, Any] | None:
        """What the startup hook left, in an object: it may have returned nothing."""
        try:
            state = self._store.startup.get(self._flow)
        except InputError:
            return None
        return state if isinstance(state, dict) and "state" in state else {"state": state}

    def _startup_file(self, label: str) -> dict[str, str]:
        inside = self._deployment.launcher.inside(self._deployment.folder / label)
        return {"HOPBENCH_STARTUP_STATE": f"{inside}/{STARTUP_FILE}"}

    def _label(self, step: int) -> str:
        flow, of = self._flow[:_NAME_CHARACTERS], self._id(step)[:_NAME_CHARACTERS]
        return re.sub(r"[^a-zA-Z0-9-]", "-", f"{flow}-{of}-{next(self._serial)}")

    def _id(self, step: int) -> str:
        return self._deployment.flow.steps[step].id


_TELLING = (StepState.STARTING, StepState.SHUTTING_DOWN, StepState.RUNNING)
"""Of several containers' states, the first of these that there is."""
