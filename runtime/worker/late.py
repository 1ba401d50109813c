"""Emits that are made outside of ``process``: by a listener's thread, at any time.

They are checked and encoded by the thread that emits, which gets the errors; they are sent by the
worker's one broker thread, which is woken for it. Such an output belongs to the execution whose
message ``process`` was last called with: while that message is unsettled its acknowledgement waits
for the output, after that nothing but this worker holds it. Loaded when the first one is made.
"""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from runtime.errors import ComponentError, MessageTooLarge, PublishRefused
from runtime.worker import events, snapshots
from runtime.worker.failures import sendable, words

if TYPE_CHECKING:
    from runtime.worker.handler import Handler, Input

_MOST_WAITING = 10_000
_MOST_WAITING_BYTES = 64 * 1024 * 1024


def report_thread(handler: Handler, error: BaseException) -> None:
    """Report the exception of which a thread of the component's own has died."""
    if handler.late is not None and handler.late.closed:
        # Most likely of that: an error that is emitted now could not be sent either.
        handler.logger.info("%s: a thread ended with the step: %s", handler.settings.step, error)
        return
    trace = "".join(traceback.format_exception(error)[-6:])
    handler.logger.error("%s: a thread of the component ended:\n%s", handler.settings.step, trace)
    if handler.last is not None:
        handler.emit("error", f"a thread of the component ended: {words(error)}")


class Late:
    """What other threads have emitted and the broker's thread has not sent yet."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._lock = threading.Lock()
        self._waiting: list[Callable[[], None]] = []
        self._waiting_bytes = 0
        self.closed = False

    def take(self, event: str, payload: Any, emit_ns: int) -> None:
        """Prepare what a thread emits and hand it over.

        Raises ComponentError before the first message, after the worker's end has begun, and for a
        rebound, which only ``process`` can ask for; MessageTooLarge; PublishRefused where the next
        step's queue has been full for so long that no more is kept here.
        """
        handler = self._handler
        item = handler.last
        if item is None:
            raise ComponentError(
                f"emit({event!r}) before the first message",
                where=f"step {handler.settings.step}",
                remedy="Begin to listen in process(), not before",
            )
        if event != "end":
            self._hand_over(event, *self._prepared(item, event, payload, emit_ns))

    def send_all(self) -> None:
        """Send what has been handed over. By the broker's thread."""
        with self._lock:
            waiting, self._waiting = self._waiting, []
            self._waiting_bytes = 0
        for send in waiting:
            send()

    def close(self) -> None:
        """Take no more. What was taken is sent by the next :meth:`send_all`."""
        with self._lock:
            self.closed = True

    def give_up_refused(self) -> None:
        """Report what the next queue has refused to the very end, as errors that hold it."""
        handler = self._handler
        for output, item in list(handler.loose.items()):
            if output.attempts:
                handler.conclude(item, output, accepted=False, learned_ns=0)

    def _prepared(
        self, item: Input, event: str, payload: Any, emit_ns: int
    ) -> tuple[int, Callable[[], None]]:
        handler = self._handler
        if event == "data":
            message = (
                payload if isinstance(payload, dict) and "body" in payload else {"body": payload}
            )
            body = handler.encoded(item, message)
            return len(body), lambda: self._send(item, body, emit_ns)
        if event == "error":
            text = sendable(str(payload))
            return len(text), lambda: handler.fail(item, text)
        if event in {"snapshot", "updateSnapshot"}:
            size_bytes = snapshots.change(handler, event, payload)
            return size_bytes, lambda: snapshots.publish(handler, item, event)
        if event == "httpReply":
            reply_to, body = events.prepare_reply(handler, item, payload)
            return len(body), lambda: events.publish_reply(handler, item, reply_to, body, {})
        if event == "rebound":
            raise ComponentError(
                "emit('rebound') outside of process(): the message may be settled already",
                where=f"step {handler.settings.step}",
                remedy="Decide it before process() returns",
            )
        raise events.unknown(handler, event)

    def _send(self, item: Input, body: bytes, emit_ns: int) -> None:
        try:
            self._handler.send(item, body, emit_ns)
        except MessageTooLarge as error:
            # The broker's own limit, below ours; who emitted is gone.
            self._handler.fail(item, str(error))

    def _hand_over(self, event: str, size_bytes: int, send: Callable[[], None]) -> None:
        handler = self._handler
        where = f"step {handler.settings.step}"
        with self._lock:
            if self.closed:
                raise ComponentError(
                    f"emit({event!r}) while the step is ending",
                    where=where,
                    remedy="It is not sent; who has such events must send them again",
                )
            full = len(self._waiting) + len(handler.loose) >= _MOST_WAITING
            if full or self._waiting_bytes + size_bytes > _MOST_WAITING_BYTES:
                raise PublishRefused(
                    f"{len(self._waiting) + len(handler.loose)} messages that were emitted outside "
                    "of process() wait to be sent, and no more are kept",
                    where=where,
                    remedy="Emit less often, or give the next step a larger queue",
                )
            self._waiting.append(send)
            self._waiting_bytes += size_bytes
        handler.broker.wake()
