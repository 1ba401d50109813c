"""What a component can emit beside data: errors, rebounds, snapshots, replies. Loaded at the first.

The names are those of the official component runtime.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from runtime.broker import Message, Route
from runtime.errors import ComponentError
from runtime.worker import snapshots

if TYPE_CHECKING:
    from runtime.worker.handler import Handler, Input

EVENTS = ("data", "error", "rebound", "snapshot", "updateSnapshot", "httpReply", "end")


def act(handler: Handler, item: Input, event: str, payload: Any) -> None:
    """Do what a component asks for while ``process`` runs, by the broker's own thread.

    Raises ComponentError for what this platform does not have, or not here; MessageTooLarge.
    """
    if event == "error":
        handler.fail(item, str(payload))
    elif event == "rebound":
        item.rebound = str(payload)
    elif event in {"snapshot", "updateSnapshot"}:
        snapshots.change(handler, event, payload)
        snapshots.publish(handler, item, event)
    elif event == "httpReply":
        reply_to, body = prepare_reply(handler, item, payload)
        publish_reply(handler, item, reply_to, body, {})
    else:
        raise unknown(handler, event)


def unknown(handler: Handler, event: str) -> ComponentError:
    """The error for an event that there is not."""
    return ComponentError(
        f"there is no event {event!r}",
        where=f"step {handler.settings.step}",
        remedy=f"Emit one of {', '.join(EVENTS)}",
    )


def prepare_reply(handler: Handler, item: Input, payload: Any) -> tuple[str, bytes]:
    """Where a reply goes, and its bytes. Raises ComponentError where nobody waits for one."""
    reply_to = item.delivery.message.headers.get("reply_to")
    if not reply_to:
        raise ComponentError(
            "emit('httpReply') for a message without reply_to: nobody waits for a reply",
            where=f"step {handler.settings.step}",
            remedy="Call the flow's webhook so that it waits for a reply",
        )
    message = payload if isinstance(payload, dict) and "body" in payload else {"body": payload}
    return str(reply_to), handler.encoded(item, message)


def publish_reply(
    handler: Handler, item: Input, reply_to: str, body: bytes, extra: Mapping[str, str]
) -> None:
    """Send a reply. Who asked may be gone: a reply that is refused is dropped, and said so."""
    settings = handler.settings
    headers = {**handler.headers_for(item), **extra}
    item.unsettled += 1

    def settled(accepted: bool, _learned_ns: int) -> None:
        if not accepted:
            handler.logger.warning(
                "%s: nobody takes the reply for %r any more", settings.step, reply_to
            )
        item.unsettled -= 1
        handler.complete(item)

    route = Route(settings.exchange, reply_to)
    handler.broker.publish(route, Message(body, headers, settings.persistent), settled)
