"""The ordinary lifecycle: for each execution the containers start one after another.

A container handles one message and ends; only then does the next one start. At no instant are two
step containers alive: the strict reading, with a shut-down timeout of zero.
"""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor

from runtime.errors import FlowError
from runtime.modes import Deployment, Started
from runtime.spans import EMIT, OK
from runtime.spool import read_spool

_ARRIVAL_POLL_S = 0.005


class OrdinaryFlow:
    """Runs executions of an ordinary flow. Use as a context manager."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self.started: list[Started] = []
        self._removals: list[Future[None]] = []
        # Removing a container that has ended is not part of an execution's path.
        self._remover = ThreadPoolExecutor(1, thread_name_prefix="remove")

    def await_arrival(self, *, timeout_s: float) -> None:
        """Return when the first step's queue holds a message. Raises FlowError on time-out."""
        queue = self._deployment.wiring.queues[0]
        deadline = time.monotonic() + timeout_s
        while not self._deployment.broker.depth(queue).ready:
            if time.monotonic() > deadline:
                raise FlowError(
                    f"no message arrived within {timeout_s:g} s",
                    where=f"queue {queue}",
                    remedy="Check that the load generator runs",
                )
            time.sleep(_ARRIVAL_POLL_S)

    def execute(self, execution: int, *, timeout_s: float) -> bool:
        """Take one waiting message through the flow, one container at a time.

        Returns whether the last step handled it; False when a step ended the execution (an error,
        or no output). Raises StepExited when a container ends without handling its message,
        FlowError when one does not end within ``timeout_s``.
        """
        last = len(self._deployment.flow.steps) - 1
        for index in range(last + 1):
            started = self._deployment.start_step(index, one_shot=True, execution=execution)
            self.started.append(started)
            self._await_end(started, timeout_s)
            if index < last and not _passed_on(started):
                return False
        return True

    def stop(self, *, grace_s: float = 5.0) -> None:
        """Stop and remove what is left. Idempotent."""
        for started in self.started:
            if started.exit is None:
                started.exit = started.instance.stop(grace_s=grace_s)
        self._remover.shutdown(wait=True)
        for removal in self._removals:
            removal.result()
        self._removals.clear()

    def __enter__(self) -> OrdinaryFlow:
        """Nothing is started yet."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop whatever runs."""
        self.stop()

    def _await_end(self, started: Started, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while True:
            ended = started.instance.wait(0.5)
            if ended is not None:
                break
            if time.monotonic() > deadline:
                started.exit = started.instance.stop(grace_s=1.0)
                step = self._deployment.flow.steps[started.step]
                raise FlowError(
                    f"still running after {timeout_s:g} s; it was ended",
                    where=f"step {step.id!r}, {started.instance.name}",
                    remedy="Does its process() hang? See the log in the trial's folder",
                )
            # A step may take minutes, and a silent connection is closed.
            self._deployment.broker.keep_alive()
        started.exit = ended
        if ended.code != 0:
            error = self._deployment.exited(started, ended)
            started.instance.stop(grace_s=0.0)
            raise error
        self._removals.append(self._remover.submit(_remove, started))


def _remove(started: Started) -> None:
    started.instance.stop(grace_s=0.0)


def _passed_on(started: Started) -> bool:
    records = read_spool(started.spool).records
    return bool(((records["kind"] == EMIT) & (records["outcome"] == OK)).any())
