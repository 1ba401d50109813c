"""Errors on their way to the error queue, with the input that caused them. Loaded at the first.

The report is a JSON object ``{error, trace, step, errorInput}``; ``errorInput`` is null, or ``{key,
body, headers, persistent, bytes, cut}`` with the body in base64: all that it takes to publish the
message again with that key. It is whole for every message within the platform's limit; a larger one
is cut, and says so. With a ``reply_to``, who waits for the reply is told of the error, too.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from runtime.broker import Message, Route
from runtime.errors import MessageTooLarge
from runtime.message import encode_body

if TYPE_CHECKING:
    from runtime.worker.handler import Handler, Input, Output

_ERROR_CHARACTERS, _TRACE_CHARACTERS = 2_000, 10_000
_CUT_BYTES = 65_536
ERROR_REPLY_HEADER = "x-eio-error-response"


def words(error: BaseException) -> str:
    """An exception's name and text, whatever its text does."""
    name = type(error).__name__
    try:
        return f"{name}: {error}"
    except Exception:  # noqa: BLE001  # its __str__ is the component's own code
        return f"{name}, which cannot say what it is about"


def sendable(text: str, most: int = _ERROR_CHARACTERS) -> str:
    """A text that is not too long, and without what UTF-8 cannot hold."""
    cut = text if len(text) <= most else f"{text[:most]}..."
    return cut.encode("utf-8", "replace").decode()


def report(
    handler: Handler,
    item: Input,
    error: str,
    trace: str,
    output: Output | None,
    *,
    is_open: bool,
) -> None:
    """Publish an error of an input or, where that is settled, of what its ``process`` left behind.

    What can be tried again is the input where it is open, else the output that was given up.
    """
    settings = handler.settings
    error, trace = sendable(error), sendable(trace, _TRACE_CHARACTERS)
    handler.logger.error("%s: %s", settings.step, error)
    cause, key = None, ""
    if is_open:
        cause, key = item.delivery.message, settings.input_key
        if item.error is None:
            _tell_who_waits(handler, item, error)
        item.error = error
    elif output is not None:
        cause, key = output.sent, settings.data_key
    headers = handler.headers_for(item)
    # Not as they came: ids that cannot be read are 0.
    headers["threadId"] = f"{item.ids.trace:016x}"
    headers["parentMessageId"] = f"{item.ids.message:016x}"
    route = Route(settings.exchange, settings.error_key)
    facts = {"error": error, "trace": trace, "step": settings.step}
    whole = cause is not None and len(cause.body) <= settings.size_limit_bytes
    item.unsettled += 1

    def message(whole: bool) -> Message:
        cause_of_it = None if cause is None else error_input(cause, key, whole=whole)
        body = encode_body({**facts, "errorInput": cause_of_it})
        return Message(body, headers, settings.persistent)

    def done(accepted: bool) -> None:
        if not accepted:
            handler.logger.error("%s: the error queue refused: %s", settings.step, error)
        item.unsettled -= 1
        handler.complete(item)

    try:
        sent = message(whole)
        handler.deliver(lambda settled: handler.broker.publish(route, sent, settled), done)
    except MessageTooLarge:
        # The broker has a limit of its own, below ours: the error itself must arrive.
        less = message(whole=False)
        handler.deliver(lambda settled: handler.broker.publish(route, less, settled), done)


def error_input(cause: Message, key: str, *, whole: bool) -> dict[str, Any]:
    """A message that can be published again, or the beginning of one that is too large."""
    body = cause.body if whole else cause.body[:_CUT_BYTES]
    return {
        "key": key,
        "body": base64.b64encode(body).decode(),
        "headers": dict(cause.headers),
        "persistent": cause.persistent,
        "bytes": len(cause.body),
        "cut": len(body) < len(cause.body),
    }


def _tell_who_waits(handler: Handler, item: Input, error: str) -> None:
    reply_to = item.delivery.message.headers.get("reply_to")
    if not reply_to:
        return
    from runtime.worker.events import publish_reply

    answer = {"body": {"error": error, "step": handler.settings.step}}
    body = encode_body(answer, handler.cipher)
    publish_reply(handler, item, str(reply_to), body, {ERROR_REPLY_HEADER: "true"})
