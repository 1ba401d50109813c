"""The realtime lifecycle: all containers start in parallel, once, and stay until stopped."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from runtime.errors import FlowError, HopbenchError
from runtime.modes import POLL_S, Deployment, Started
from runtime.spool import SpoolTail, marks

_LIVENESS_PERIOD_S = 0.25
_WITH_HOOKS = {"ELASTICIO_STARTUP_REQUIRED": "true"}


class RealtimeFlow:
    """A running realtime flow. Use as a context manager: leaving it stops everything."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self.started: list[Started] = []
        self._checked_s = 0.0

    def start(self, *, timeout_s: float) -> None:
        """Start every step in parallel and return when all of them consume.

        Raises StepExited when one ends instead, FlowError when ``timeout_s`` passes first; what
        had started is then stopped.
        """
        steps = range(len(self._deployment.flow.steps))
        deadline = time.monotonic() + timeout_s
        with ThreadPoolExecutor(len(steps), thread_name_prefix="start") as pool:
            futures = [
                pool.submit(
                    self._deployment.start_step,
                    index,
                    one_shot=False,
                    # The flow's hooks are run once, by the container that its trigger starts in.
                    environment=_WITH_HOOKS if index == 0 else None,
                )
                for index in steps
            ]
            errors: list[HopbenchError] = []
            for future in futures:
                try:
                    self.started.append(future.result())
                except HopbenchError as error:
                    errors.append(error)
        if errors:
            self.stop()
            raise errors[0]
        try:
            self._await_consuming(self.started, deadline, timeout_s)
        except BaseException:
            self.stop()
            raise

    def check(self) -> None:
        """Raise StepExited when a step's container is gone. Looks a few times a second."""
        now_s = time.monotonic()
        if now_s - self._checked_s < _LIVENESS_PERIOD_S:
            return
        self._checked_s = now_s
        for started in self.started:
            ended = started.instance.wait(0.0)
            if ended is not None:
                started.exit = ended
                raise self._deployment.exited(started, ended)

    def alive(self) -> tuple[str, ...]:
        """Ids of the containers that run now, in the order of the steps."""
        return tuple(s.instance.id for s in self.started if s.instance.alive())

    def stop(self, *, grace_s: float = 5.0) -> None:
        """Stop all steps in parallel; each one's exit is kept. Idempotent."""
        running = [started for started in self.started if started.exit is None]
        if not running:
            return
        with ThreadPoolExecutor(len(running), thread_name_prefix="stop") as pool:
            exits = pool.map(lambda started: started.instance.stop(grace_s=grace_s), running)
            for started, ended in zip(running, exits, strict=True):
                started.exit = ended

    def __enter__(self) -> RealtimeFlow:
        """Nothing is started yet."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop whatever runs."""
        self.stop()

    def _await_consuming(
        self, started: Sequence[Started], deadline: float, timeout_s: float
    ) -> None:
        waiting = {id(s): (s, SpoolTail(s.spool)) for s in started}
        while waiting:
            for key, (_, tail) in list(waiting.items()):
                if "consuming" in marks(tail.new_records()):
                    del waiting[key]
            if not waiting:
                return
            self.check()
            if time.monotonic() > deadline:
                names = ", ".join(
                    self._deployment.flow.steps[s.step].id for s, _ in waiting.values()
                )
                raise FlowError(
                    f"not consuming after {timeout_s:g} s",
                    where=f"step {names}",
                    remedy="See the step's log in the trial's folder",
                )
            time.sleep(POLL_S)
