"""A step's snapshot: one small state, kept between calls and, by a platform, between starts.

``snapshot`` replaces it, ``updateSnapshot`` replaces some of its members. Either way the whole of
it goes to the platform's snapshot queue, where there is one, as ``{step, snapshot}``.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import orjson

from runtime.broker import Message, Route
from runtime.errors import ComponentError, InputError, MessageTooLarge
from runtime.message import SNAPSHOT_LIMIT_BYTES

if TYPE_CHECKING:
    from runtime.worker.handler import Handler, Input

_CHANGING = threading.Lock()
_OPTIONS = orjson.OPT_NON_STR_KEYS
EVENT_HEADER = "snapshotEvent"


def load(path: str) -> dict[str, Any]:
    """The snapshot that a step starts with; empty without a file. Raises InputError."""
    if not path:
        return {}
    try:
        with open(path, "rb") as file:
            found = orjson.loads(file.read())
    except (OSError, ValueError) as error:
        raise InputError(f"its snapshot cannot be read: {error}", where=path) from error
    if not isinstance(found, dict):
        raise InputError("its snapshot is no JSON object", where=path)
    return found


def change(handler: Handler, event: str, payload: Any) -> int:
    """Change the worker's own snapshot, and return its size in bytes. Of any thread.

    Raises ComponentError for one that is no object, MessageTooLarge, TypeError for no JSON.
    """
    where = f"step {handler.settings.step}"
    if not isinstance(payload, dict):
        raise ComponentError(
            f"emit({event!r}) needs an object, not {type(payload).__name__}",
            where=where,
            remedy="Put the value into an object",
        )
    with _CHANGING:
        whole = payload if event == "snapshot" else {**handler.snapshot, **payload}
        content = orjson.dumps(whole, option=_OPTIONS)
        _check_size(content, where)
        handler.snapshot = orjson.loads(content)
    return len(content)


def _check_size(content: bytes, where: str) -> None:
    if len(content) > SNAPSHOT_LIMIT_BYTES:
        raise MessageTooLarge(
            f"a snapshot of {len(content)} bytes is over the limit of {SNAPSHOT_LIMIT_BYTES}",
            where=where,
            remedy="Keep less in it: it is for one small state",
        )


def publish(handler: Handler, item: Input, event: str) -> None:
    """Hand the snapshot, as it is now, to the platform, where one collects them.

    By the broker's thread: so a later message never holds an earlier state.
    """
    settings = handler.settings
    if not settings.snapshot_key:
        return
    headers = {**handler.headers_for(item), EVENT_HEADER: event, "stepId": settings.step}
    body = orjson.dumps({"step": settings.step, "snapshot": handler.snapshot})
    message = Message(body, headers, persistent=True)
    route = Route(settings.exchange, settings.snapshot_key)
    item.unsettled += 1

    def done(accepted: bool) -> None:
        if not accepted:
            handler.logger.error("%s: the platform does not take its snapshot", settings.step)
        item.unsettled -= 1
        handler.complete(item)

    handler.deliver(lambda settled: handler.broker.publish(route, message, settled), done)
