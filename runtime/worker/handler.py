"""Handles one message: into ``process``, out to the queue, acknowledged, recorded.

An input is acknowledged only when the broker has confirmed all that came of it, so a message is
never lost between two steps; and it is recorded only then, off the path that is measured.
"""

from __future__ import annotations

import os
import time
import traceback
from typing import Any

from runtime.broker import Broker, Delivery, Message, Route
from runtime.errors import ComponentError, MessageTooLarge
from runtime.message import (
    Cipher,
    Ids,
    carried,
    decode_body,
    decode_ids,
    encode_body,
    encode_headers,
)
from runtime.spans import EMIT, ERROR, FIRST, OK, PROCESS, REDELIVERED, REFUSED, UNSETTLED, Spool
from runtime.worker.component import Context, Loaded
from runtime.worker.settings import Settings

now_ns = time.monotonic_ns
_ERROR_CHARACTERS, _TRACE_CHARACTERS = 2_000, 10_000


def _words(error: Exception) -> str:
    name = type(error).__name__
    try:
        return f"{name}: {error}"
    except Exception:  # noqa: BLE001  # its __str__ is the component's own code
        return f"{name}, which cannot say what it is about"


def _sendable(text: str, most: int) -> str:
    cut = text if len(text) <= most else f"{text[:most]}..."
    return cut.encode("utf-8", "replace").decode()


class _Output:
    """One message that a component emitted, until the broker has settled it."""

    __slots__ = ("confirmed_ns", "emit_ns", "message", "outcome", "socket_ns")

    def __init__(self, message: int, emit_ns: int) -> None:
        self.message = message
        self.emit_ns = emit_ns
        self.socket_ns = 0
        self.confirmed_ns = 0
        self.outcome = UNSETTLED


class _Input:
    """One delivery in the hands of this worker, with all that came of it."""

    __slots__ = (
        "delivery",
        "end_ns",
        "entry_ns",
        "error",
        "first",
        "ids",
        "outputs",
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
        self.outputs: list[_Output] = []
        self.unsettled = 0
        self.returned = False


class Handler:
    """Runs a component's ``process`` for each delivery. ``busy_since_ns`` is 0 between them."""

    def __init__(
        self,
        settings: Settings,
        broker: Broker,
        component: Loaded,
        spool: Spool | None,
        context: Context,
        cipher: Cipher | None,
    ) -> None:
        self._settings = settings
        self._broker = broker
        self._component = component
        self._spool = spool
        self._cipher = cipher
        self._context = context
        context._emit = self._emit
        self._data = Route(settings.exchange, settings.data_key)
        self._errors = Route(settings.exchange, settings.error_key)
        # Message ids are unique per process start without asking anyone.
        self._next_id = int.from_bytes(os.urandom(4), "big") << 32
        self._current: _Input | None = None
        self._open: dict[int, _Input] = {}
        self.started = 0
        self.finished = 0
        self.busy_since_ns = 0

    def handle(self, delivery: Delivery) -> None:
        """Take one delivery as far as the network allows without waiting for the broker."""
        first = self.started == 0
        self.started += 1
        try:
            ids = decode_ids(delivery.message.headers)
            message = decode_body(delivery.message.body, self._cipher)
        except ValueError as error:
            item = _Input(delivery, Ids(0, 0, 0), first)
            item.entry_ns = item.end_ns = now_ns()
            self._open[id(item)] = item
            self._fail(item, f"the message cannot be read: {error}")
            self._returned(item)
            return
        item = _Input(delivery, ids, first)
        self._open[id(item)] = item
        self._current = item
        settings = self._settings
        self.busy_since_ns = item.entry_ns = now_ns()
        try:
            result = self._component.process(message, settings.config, {}, self._context)
            item.end_ns = now_ns()
            if result:
                payload = (
                    result if isinstance(result, dict) and "body" in result else {"body": result}
                )
                self._emit_data(item, payload, item.end_ns)
        except Exception as error:  # noqa: BLE001  # a component may raise anything at all
            item.end_ns = item.end_ns or now_ns()
            trace = traceback.format_exc(limit=-3)
            self._fail(item, _words(error), trace)
        finally:
            self.busy_since_ns = 0
            self._current = None
        self._returned(item)

    def give_up(self) -> None:
        """Record what the broker has not settled, when this process must end."""
        for item in list(self._open.values()):
            self._record(item, 0, UNSETTLED)

    # -- what a component asks for ---------------------------------------------------------------

    def _emit(self, event: str, payload: Any) -> None:
        item = self._current
        if item is None:
            raise ComponentError(
                f"emit({event!r}) outside of process()",
                where=f"step {self._settings.step}",
                remedy="Emit only while process() runs",
            )
        if event == "data":
            message = (
                payload if isinstance(payload, dict) and "body" in payload else {"body": payload}
            )
            self._emit_data(item, message, now_ns())
        elif event == "error":
            self._fail(item, str(payload))
        elif event != "end":
            raise ComponentError(
                f"there is no event {event!r}",
                where=f"step {self._settings.step}",
                remedy="Emit 'data', 'error' or 'end'",
            )

    def _emit_data(self, item: _Input, message: dict[str, Any], emit_ns: int) -> None:
        settings = self._settings
        body = encode_body(message, self._cipher)
        if len(body) > settings.size_limit_bytes:
            raise MessageTooLarge(
                f"a message of {len(body)} bytes is over the limit of {settings.size_limit_bytes}",
                where=f"step {settings.step}",
                remedy="Send less in one message, or several messages",
            )
        if not settings.data_key:
            return
        self._next_id += 1
        output = _Output(self._next_id, emit_ns)
        inherited = item.delivery.message.headers
        # As encode_headers() does it, without formatting again what came as text; a message with no
        # more headers than its ids has none that are carried along.
        own = 3 if item.ids.parent else 2
        headers = carried(inherited) if len(inherited) > own else {}
        headers["messageId"] = f"{self._next_id:016x}"
        headers["threadId"] = inherited["threadId"]
        headers["parentMessageId"] = inherited["messageId"]
        item.outputs.append(output)
        item.unsettled += 1

        def settled(accepted: bool, learned_ns: int) -> None:
            output.confirmed_ns = learned_ns
            output.outcome = OK if accepted else REFUSED
            if not accepted and item.error is None:
                self._fail(item, f"the broker refused a message for {settings.data_key!r}")
            item.unsettled -= 1
            self._complete(item)

        output.socket_ns = self._broker.publish(
            self._data, Message(body, headers, settings.persistent), settled
        )

    def _fail(self, item: _Input, error: str, trace: str = "") -> None:
        """Send the error, with the input that caused it, to the flow's error queue."""
        # An error must arrive whatever its text is: cut, and without what UTF-8 cannot hold.
        error = _sendable(error, _ERROR_CHARACTERS)
        trace = _sendable(trace, _TRACE_CHARACTERS)
        item.error = error
        settings = self._settings
        self._context.logger.error("%s: %s", settings.step, error)
        delivery = item.delivery
        # A large input is cut: the error must arrive even when the input alone fills a message.
        cause = delivery.message.body[:65536].decode("utf-8", "replace")
        report = {"error": error, "trace": trace, "step": settings.step, "errorInput": cause}
        self._next_id += 1
        headers = encode_headers(Ids(item.ids.trace, self._next_id, item.ids.message), {})
        item.unsettled += 1

        def settled(accepted: bool, _learned_ns: int) -> None:
            if not accepted:
                self._context.logger.error("%s: the error queue refused: %s", settings.step, error)
            item.unsettled -= 1
            self._complete(item)

        self._broker.publish(
            self._errors, Message(encode_body(report), headers, settings.persistent), settled
        )

    # -- settling --------------------------------------------------------------------------------

    def _returned(self, item: _Input) -> None:
        item.returned = True
        self._complete(item)

    def _complete(self, item: _Input) -> None:
        if not item.returned or item.unsettled or id(item) not in self._open:
            return
        if item.error is None:
            self._broker.ack(item.delivery)
        else:
            self._broker.reject(item.delivery)
        self._record(item, now_ns(), OK if item.error is None else ERROR)

    def _record(self, item: _Input, acked_ns: int, outcome: int) -> None:
        del self._open[id(item)]
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
            records += spool.encode(
                EMIT, output.outcome, 0, flags & FIRST, ids.trace, output.message, ids.message,
                0, output.emit_ns, output.socket_ns, output.confirmed_ns,
            )  # fmt: skip
        spool.write(records)
