"""Handles one message: into ``process``, out to the queue, acknowledged, recorded.

An input is acknowledged only when the broker has confirmed all that came of it, so a message is
never lost between two steps; and it is recorded only then, off the path that is measured. What is
rare (a refused publish, an error, a rebound, an emit outside of ``process``) is in modules of its
own, loaded when it first happens: a worker's imports are part of the warm-up.
"""

from __future__ import annotations

import os
import threading
import time
import traceback
from collections.abc import Callable
from functools import partial
from threading import get_ident
from typing import TYPE_CHECKING, Any

from orjson import dumps as encode_json
from orjson import loads as decode_json

from runtime.broker import Broker, Delivery, Message, Route, Settled
from runtime.errors import MessageTooLarge
from runtime.message import Cipher, Ids, carried, decode_body, decode_ids, encode_body
from runtime.spans import (
    EMIT,
    ERROR,
    FIRST,
    LATE,
    OK,
    PROCESS,
    REBOUND,
    REDELIVERED,
    REFUSED,
    UNSETTLED,
    Spool,
)
from runtime.worker.component import Context, Loaded
from runtime.worker.settings import Settings

if TYPE_CHECKING:
    from runtime.worker.late import Late
    from runtime.worker.retries import Retries

now_ns = time.monotonic_ns
_IDLE_S = 3600.0


class Output:
    """One message that a component emitted, until the broker has settled it.

    ``sent`` is kept until it is accepted. ``loose``: its input had been settled when it was
    emitted, so that nothing but this worker has it. ``attempts``: how often it was refused.
    """

    __slots__ = (
        "attempts",
        "confirmed_ns",
        "emit_ns",
        "loose",
        "message",
        "outcome",
        "sent",
        "socket_ns",
    )

    def __init__(self, message: int, emit_ns: int, sent: Message, loose: bool) -> None:
        self.message = message
        self.emit_ns = emit_ns
        self.sent: Message | None = sent
        self.loose = loose
        self.attempts = 0
        self.socket_ns = 0
        self.confirmed_ns = 0
        self.outcome = UNSETTLED


class Input:
    """One delivery in the hands of this worker, with all that came of it."""

    __slots__ = (
        "delivery",
        "end_ns",
        "entry_ns",
        "error",
        "first",
        "ids",
        "outputs",
        "passed",
        "rebound",
        "returned",
        "unsettled",
    )

    def __init__(self, delivery: Delivery, ids: Ids, first: bool) -> None:
        self.delivery = delivery
        self.ids = ids
        self.first = first
        self.entry_ns = 0
        self.end_ns = 0
        self.error: str | None = None
        self.rebound: str | None = None
        self.outputs: list[Output] = []
        self.passed: dict[str, Any] = {}
        self.unsettled = 0
        self.returned = False


class Handler:
    """Runs a component's ``process`` for each delivery. ``busy_since_ns`` is 0 between them.

    One thread's, the broker's owner's; but a component may emit from others.
    """

    def __init__(
        self,
        settings: Settings,
        broker: Broker,
        component: Loaded,
        spool: Spool | None,
        context: Context,
        cipher: Cipher | None,
        snapshot: dict[str, Any] | None = None,
    ) -> None:
        self.settings = settings
        self.broker = broker
        self.cipher = cipher
        self.snapshot = snapshot or {}
        self.logger = context.logger
        self._component = component
        self._spool = spool
        self._context = context
        context._emit = self.emit
        self._data = Route(settings.exchange, settings.data_key)
        self._passes = settings.reads_passthrough or settings.carries_passthrough
        # Message ids are unique per process start without asking anyone.
        self._next_id = int.from_bytes(os.urandom(4), "big") << 32
        self._thread = get_ident()
        self._current: Input | None = None
        self._open: set[Input] = set()
        self.last: Input | None = None
        self.loose: dict[Output, Input] = {}
        self.late: Late | None = None
        self.retries: Retries | None = None
        self._making = threading.Lock()
        self.started = 0
        self.finished = 0
        self.busy_since_ns = 0

    def handle(self, delivery: Delivery) -> None:
        """Take one delivery as far as the network allows without waiting for the broker."""
        first = self.started == 0
        self.started += 1
        try:
            ids = decode_ids(delivery.message.headers)
            message = decode_body(delivery.message.body, self.cipher)
        except ValueError as error:
            item = Input(delivery, Ids(0, 0, 0), first)
            item.entry_ns = item.end_ns = now_ns()
            self._open.add(item)
            self.fail(item, f"the message cannot be read: {error}")
            self._returned(item)
            return
        item = Input(delivery, ids, first)
        self._open.add(item)
        if self._passes:
            from runtime.worker import passthrough

            passthrough.receive(self.settings, item, message)
        self.last = self._current = item
        # A copy: what a component wants to be kept, it emits.
        snapshot = decode_json(encode_json(self.snapshot)) if self.snapshot else {}
        self.busy_since_ns = item.entry_ns = now_ns()
        try:
            result = self._component.process(message, self.settings.config, snapshot, self._context)
            item.end_ns = now_ns()
            if result:
                payload = (
                    result if isinstance(result, dict) and "body" in result else {"body": result}
                )
                self.send(item, self.encoded(item, payload), item.end_ns)
        except Exception as error:  # noqa: BLE001  # a component may raise anything at all
            from runtime.worker.failures import words

            item.end_ns = item.end_ns or now_ns()
            trace = traceback.format_exc(limit=-3)
            self.fail(item, words(error), trace)
        finally:
            self.busy_since_ns = 0
            self._current = None
        self._returned(item)

    def patience_s(self) -> float:
        """How long to wait for a message, at most, before :meth:`run_errands` is due again."""
        return _IDLE_S if self.retries is None else self.retries.wait_s(_IDLE_S)

    def run_errands(self) -> None:
        """Send what was emitted outside of ``process``, and what was refused and is due again."""
        if self.late is not None:
            self.late.send_all()
        if self.retries is not None:
            self.retries.run_due()

    def is_unfinished(self) -> bool:
        """Whether anything that came in, or was emitted, is not settled yet."""
        return bool(self._open or self.loose)

    def give_up(self) -> None:
        """Record what the broker has not settled, when this process must end."""
        for item in list(self._open):
            self._record(item, 0, UNSETTLED)
        for output, item in self.loose.items():
            self._record_loose(item, output)
        self.loose.clear()

    # -- what a component asks for ---------------------------------------------------------------

    def emit(self, event: str, payload: Any) -> None:
        """What :meth:`Context.emit` does; of any thread."""
        item = self._current
        if item is None or get_ident() != self._thread:
            emit_ns = now_ns()
            (self.late or self._make_late()).take(event, payload, emit_ns)
        elif event == "data":
            message = (
                payload if isinstance(payload, dict) and "body" in payload else {"body": payload}
            )
            emit_ns = now_ns()
            self.send(item, self.encoded(item, message), emit_ns)
        elif event != "end":
            from runtime.worker.events import act

            act(self, item, event, payload)

    def _make_late(self) -> Late:
        from runtime.worker.late import Late

        # Two listeners may be the first at once.
        with self._making:
            self.late = self.late or Late(self)
            return self.late

    def encoded(self, item: Input, message: dict[str, Any]) -> bytes:
        """A message as it goes over the wire. Raises MessageTooLarge. Of any thread."""
        if self._passes:
            from runtime.worker import passthrough

            message = passthrough.hand_on(self.settings, item, message)
        body = encode_body(message, self.cipher)
        if len(body) > self.settings.size_limit_bytes:
            raise MessageTooLarge(
                f"a message of {len(body)} bytes is over the limit of "
                f"{self.settings.size_limit_bytes}",
                where=f"step {self.settings.step}",
                remedy="Send less in one message, or several messages",
            )
        return body

    def send(self, item: Input, body: bytes, emit_ns: int) -> None:
        """Publish an output of an input to the next step, where there is one."""
        settings = self.settings
        if not settings.data_key:
            return
        sent = Message(body, self.headers_for(item), settings.persistent)
        output = Output(self._next_id, emit_ns, sent, item not in self._open)
        output.socket_ns = self.broker.publish(
            self._data, sent, partial(self._output_settled, item, output)
        )
        # Not before: a broker may refuse to send what is over a limit of its own.
        item.unsettled += 1
        if output.loose:
            self.loose[output] = item
        else:
            item.outputs.append(output)

    def headers_for(self, item: Input) -> dict[str, str | int]:
        """Headers of a new message that an input causes: its own id, and what is carried along."""
        self._next_id += 1
        inherited = item.delivery.message.headers
        # As encode_headers() does it, without formatting again what came as text; a message with no
        # more headers than its ids has none that are carried along.
        own = 3 if item.ids.parent else 2
        headers = carried(inherited) if len(inherited) > own else {}
        headers["messageId"] = f"{self._next_id:016x}"
        headers["threadId"] = inherited.get("threadId", "")
        headers["parentMessageId"] = inherited.get("messageId", "")
        if self.settings.carries_passthrough:
            headers["stepId"] = self.settings.step
        return headers

    def fail(self, item: Input, error: str, trace: str = "", output: Output | None = None) -> None:
        """Report an error to the error queue; where ``item`` is still open, it fails."""
        from runtime.worker.failures import report

        report(self, item, error, trace, output, is_open=item in self._open)

    # -- settling --------------------------------------------------------------------------------

    def deliver(
        self, send: Callable[[Settled], int], done: Callable[[bool], None], attempt: int = 0
    ) -> None:
        """Publish with ``send``, again and again while it is refused; then say how it ended."""

        def settled(accepted: bool, _learned_ns: int) -> None:
            if accepted or not self._again(attempt, lambda: self.deliver(send, done, attempt + 1)):
                done(accepted)

        send(settled)

    def _again(self, attempt: int, action: Callable[[], None]) -> bool:
        """Let something that was refused be tried again later; False when it is given up."""
        most = self.settings.retry_attempts
        if most is not None and attempt >= most:
            return False
        if self.retries is None:
            from runtime.worker.retries import Retries

            self.retries = Retries(self.settings, self.logger)
        self.retries.add(attempt, action)
        # We are inside of a wait that was begun without it.
        self.broker.wake()
        return True

    def _output_settled(self, item: Input, output: Output, accepted: bool, learned_ns: int) -> None:
        if not accepted:
            output.attempts += 1
            if self._again(output.attempts - 1, partial(self._send_again, item, output)):
                return
        self.conclude(item, output, accepted, learned_ns)

    def conclude(self, item: Input, output: Output, accepted: bool, learned_ns: int) -> None:
        """An output is accepted, or given up: then its input fails."""
        output.confirmed_ns = learned_ns
        output.outcome = OK if accepted else REFUSED
        if not accepted and (output.loose or item.error is None):
            key = self.settings.data_key
            self.fail(item, f"the broker refused a message for {key!r}", output=output)
        output.sent = None
        item.unsettled -= 1
        if output.loose:
            del self.loose[output]
            self._record_loose(item, output)
        else:
            self.complete(item)

    def _send_again(self, item: Input, output: Output) -> None:
        if output.sent is None:  # It was given up meanwhile.
            return
        output.socket_ns = self.broker.publish(
            self._data, output.sent, partial(self._output_settled, item, output)
        )

    def _returned(self, item: Input) -> None:
        item.returned = True
        if item.rebound is not None and item.error is None:
            from runtime.worker.rebounds import send_back

            send_back(self, item)
        self.complete(item)

    def complete(self, item: Input) -> None:
        """Acknowledge (or reject) and record an input, once everything that came of it is out."""
        if not item.returned or item.unsettled or item not in self._open:
            return
        if item.error is None:
            self.broker.ack(item.delivery)
            outcome = OK if item.rebound is None else REBOUND
        else:
            self.broker.reject(item.delivery)
            outcome = ERROR
        self._record(item, now_ns(), outcome)

    def _record(self, item: Input, acked_ns: int, outcome: int) -> None:
        self._open.remove(item)
        self.finished += 1
        spool = self._spool
        if spool is None:
            return
        ids = item.ids
        flags = (FIRST if item.first else 0) | (REDELIVERED if item.delivery.redelivered else 0)
        accepted = sum(output.outcome == OK for output in item.outputs)
        records = spool.encode(
            PROCESS, outcome, accepted, flags, ids.trace, ids.message, ids.parent,
            item.delivery.delivered_ns, item.entry_ns, item.end_ns, acked_ns,
        )  # fmt: skip
        for output in item.outputs:
            records += self._emit_record(spool, item, output)
        spool.write(records)

    def _record_loose(self, item: Input, output: Output) -> None:
        if self._spool is not None:
            self._spool.write(self._emit_record(self._spool, item, output))

    def _emit_record(self, spool: Spool, item: Input, output: Output) -> bytes:
        flags = (FIRST if item.first else 0) | (LATE if output.emit_ns > item.end_ns else 0)
        return spool.encode(
            EMIT, output.outcome, 0, flags, item.ids.trace, output.message, item.ids.message,
            0, output.emit_ns, output.socket_ns, output.confirmed_ns,
        )  # fmt: skip
