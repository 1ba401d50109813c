"""Puts a flow's ticks into its first queue, by the thread that owns the broker connection."""

from __future__ import annotations

import os
import queue

from runtime.broker import Broker, Message
from runtime.flows import Definition
from runtime.message import Ids, encode_body, encode_headers
from runtime.scheduler import SCHEDULED, Scheduler, Tick
from runtime.wiring import Wiring

_SETTLE_TIMEOUT_S = 5.0


class Ticker:
    """The ticks of one running flow; nothing where no clock calls its trigger.

    A tick that the queue has no room for is dropped, and counted as failed: the next one comes
    anyway.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        broker: Broker,
        flow: str,
        definition: Definition,
        wiring: Wiring,
    ) -> None:
        self._scheduler = scheduler
        self._broker = broker
        self._flow = flow
        self._trigger = definition.trigger
        self._persistent = definition.steps[0].persistent
        self._route = wiring.entry
        self._due: queue.SimpleQueue[Tick] = queue.SimpleQueue()

    def begin(self) -> None:
        """From now on the flow is ticked."""
        if self._trigger.kind in SCHEDULED:
            self._scheduler.add(self._flow, self._trigger, self._take)

    def turn(self) -> None:
        """Send what is due."""
        while not self._due.empty():
            self._send(self._due.get_nowait())

    def flush(self) -> None:
        """The last of it: the flow is ticked no more, and what had come is in the queue."""
        self.end()
        if not self._due.empty():
            self.turn()
            self._broker.settle(_SETTLE_TIMEOUT_S)

    def end(self) -> None:
        """The flow is ticked no more. Idempotent, whatever has become of the broker."""
        self._scheduler.remove(self._flow)

    def _take(self, tick: Tick) -> None:
        self._due.put(tick)
        self._broker.wake()

    def _send(self, tick: Tick) -> None:
        base = int.from_bytes(os.urandom(8), "big") or 1
        envelope = {"id": f"{base:016x}", "body": tick.body(), "headers": {}, "attachments": {}}
        headers = encode_headers(Ids(base, base, 0), {})
        message = Message(encode_body(envelope), headers, self._persistent)

        def settled(accepted: bool, _learned_ns: int) -> None:
            if not accepted:
                what = f"tick {tick.sequence} was refused: the first queue is full"
                self._scheduler.count_failure(self._flow, what)

        self._broker.publish(self._route, message, settled)
