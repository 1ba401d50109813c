"""Takes what steps leave for the platform off its queues and into the store.

A message is acknowledged only when the store has it: a crash in between brings it a second time,
and loses none.
"""

from __future__ import annotations

from typing import Any

from runtime.broker import Broker, Delivery
from runtime.errors import FlowError, InputError
from runtime.retry import read_failure, read_snapshot
from runtime.store import Store
from runtime.store.failures import Failure
from runtime.wiring import Wiring
from runtime.worker.snapshots import EVENT_HEADER

MOST_FAILURES = 10_000
"""Of one flow. Beyond, errors stay in their queue; when that is full, steps wait to be rid of them,
so that a flow in which everything fails comes to rest, and does not fill the disk.
"""
_BATCH = 32
_POLL_S = 0.02
_POLLS = 250


class Collector:
    """Collects one flow's errors and snapshots, by the thread that owns the broker connection."""

    def __init__(self, broker: Broker, store: Store, flow: str, wiring: Wiring) -> None:
        self._broker = broker
        self._store = store
        self._flow = flow
        self._held: list[Delivery] = []
        self._is_bounded = True
        self._queues = (wiring.error_queue, wiring.snapshot_queue)

    def subscribe(self) -> None:
        """Begin to consume."""
        for queue in self._queues:
            self._broker.subscribe(queue, prefetch=_BATCH)

    def turn(self, timeout_s: float) -> None:
        """Wait for what comes, at most so long, and keep all that is there."""
        delivery = self._broker.receive(timeout_s)
        while delivery is not None:
            batch = [delivery]
            while len(batch) < _BATCH and (more := self._broker.receive(0.0)) is not None:
                batch.append(more)
            self._keep(batch)
            self._keep_reports()
            delivery = self._broker.receive(0.0)
        self._keep_reports()

    def finish(self) -> None:
        """Keep what has been published by steps that have ended. Raises FlowError."""
        self._is_bounded = False
        for _ in range(_POLLS):
            self.turn(0.0)
            if not any(self._broker.depth(queue).ready for queue in self._queues):
                self.turn(0.0)
                return
            self.turn(_POLL_S)
        raise FlowError(
            f"still has messages after {_POLLS * _POLL_S:g} s",
            where=f"queue {self._queues[0]} or {self._queues[1]}",
            remedy="Does something else publish to it?",
        )

    def _keep(self, batch: list[Delivery]) -> None:
        reports = [one for one in batch if EVENT_HEADER not in one.message.headers]
        self._keep_snapshots([one for one in batch if EVENT_HEADER in one.message.headers])
        self._held += reports

    def _keep_reports(self) -> None:
        """Keep the errors in hand, where there is room for them."""
        if not self._held:
            return
        if self._is_bounded and self._store.failures.count(self._flow) >= MOST_FAILURES:
            return
        self._store.failures.add(self._flow, [read_failure(one.message) for one in self._held])
        for delivery in self._held:
            self._broker.ack(delivery)
        self._held.clear()

    def _keep_snapshots(self, batch: list[Delivery]) -> None:
        # Of one step's snapshots, the last one counts.
        snapshots: dict[str, dict[str, Any]] = {}
        failures = []
        for delivery in batch:
            try:
                step, snapshot = read_snapshot(delivery.message)
            except InputError as error:
                failures.append(Failure("", str(error)))
            else:
                snapshots[step] = snapshot
        for step, snapshot in snapshots.items():
            try:
                self._store.snapshots.save(self._flow, step, snapshot)
            except InputError as error:
                failures.append(Failure(step, str(error)))
        if failures:
            self._store.failures.add(self._flow, failures)
        for delivery in batch:
            self._broker.ack(delivery)
