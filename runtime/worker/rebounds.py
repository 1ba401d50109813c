"""Sends an input back to its own queue, for later: what ``emit("rebound")`` asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runtime.broker import Message, Route
from runtime.message import rebound_delay_ms
from runtime.worker.failures import sendable

if TYPE_CHECKING:
    from runtime.worker.handler import Handler, Input

ITERATION, REASON = "reboundIteration", "reboundReason"


def send_back(handler: Handler, item: Input) -> None:
    """Publish an input again, unchanged, with a delay that doubles each time.

    Over the limit the input fails instead. It is acknowledged once the broker keeps the copy.
    """
    settings, original = handler.settings, item.delivery.message
    before = original.headers.get(ITERATION, 0)
    iteration = 1 + (before if isinstance(before, int) else 0)
    reason = sendable(item.rebound or "")
    if iteration > settings.rebound_limit:
        handler.fail(
            item, f"it was sent back {settings.rebound_limit} times, the limit; last: {reason}"
        )
        return
    headers = {**original.headers, ITERATION: iteration, REASON: reason}
    message = Message(original.body, headers, original.persistent)
    delay_ms = rebound_delay_ms(iteration, settings.rebound_delay_ms)
    route = Route(settings.exchange, settings.input_key)
    handler.logger.info("%s: sent back for %d ms: %s", settings.step, delay_ms, reason)
    item.unsettled += 1

    def done(accepted: bool) -> None:
        if not accepted:
            handler.fail(item, f"the broker refused to take it back ({reason})")
        item.unsettled -= 1
        handler.complete(item)

    handler.deliver(
        lambda settled: handler.broker.publish_later(route, message, delay_ms, settled), done
    )
