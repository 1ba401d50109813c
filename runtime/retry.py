"""What workers leave on a flow's error and snapshot queues, read; and failed messages sent again.

The formats are those of ``runtime/worker/failures.py`` and ``runtime/worker/snapshots.py``.
"""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Mapping
from typing import Any

from runtime.broker import Broker, Message, Route
from runtime.errors import BrokerUnavailable, InputError, PublishRefused
from runtime.store.failures import Failure

_OF_ITS_FIRST_LIFE = ("reboundIteration", "reboundReason")
_MESSAGE_MEMBERS = {"key": str, "body": str, "headers": dict, "bytes": int, "cut": bool}


def read_failure(message: Message) -> Failure:
    """What an error queue's message says; whatever it is, it says something."""
    step = str(message.headers.get("stepId", ""))
    try:
        report = json.loads(message.body)
    except ValueError:
        report = None
    if not isinstance(report, dict) or "error" not in report:
        text = message.body[:2000].decode("utf-8", "replace")
        return Failure(step, f"an error report that cannot be read: {text}")
    cause = report.get("errorInput")
    return Failure(
        step=str(report.get("step", step)),
        error=str(report["error"]),
        trace=str(report.get("trace", "")),
        cause=cause if _is_message(cause) else None,
    )


def message_again(cause: Mapping[str, Any] | None) -> tuple[str, Message]:
    """The key and the message with which a failed one is tried again, under an id of its own.

    It begins anew: how often it was sent back is forgotten. Raises InputError, with the reason, for
    an error without a message and for a message that was not kept whole.
    """
    if cause is None or not _is_message(cause):
        raise InputError(
            "this error has no message that could be tried again",
            remedy="It is of a component's own thread, or of another publisher",
        )
    if cause["cut"]:
        raise InputError(
            f"the message that caused this error has {cause['bytes']} bytes, over the limit, and "
            "was not kept whole",
            remedy="Send it again from where it came, in smaller parts",
        )
    try:
        body = base64.b64decode(cause["body"], validate=True)
    except ValueError as error:
        raise InputError(f"the message of this error is damaged: {error}") from error
    headers = {
        str(name): value
        for name, value in cause["headers"].items()
        if name not in _OF_ITS_FIRST_LIFE and isinstance(value, str | int)
    }
    headers["messageId"] = secrets.token_hex(8)
    return str(cause["key"]), Message(body, headers, bool(cause.get("persistent")))


def publish_again(
    broker: Broker, exchange: str, cause: Mapping[str, Any] | None, *, timeout_s: float = 10.0
) -> str:
    """Send a failed message to its step's queue again; return its key when the broker has it.

    Only then may the error be forgotten. Raises InputError like :func:`message_again`,
    PublishRefused when the queue is full or there is none, BrokerUnavailable without an answer.
    """
    key, message = message_again(cause)
    answers: list[bool] = []
    broker.publish(Route(exchange, key), message, lambda accepted, _: answers.append(accepted))
    if not broker.settle(timeout_s) or not answers:
        raise BrokerUnavailable(
            f"no answer within {timeout_s:g} s", where=f"key {key!r} of {exchange}"
        )
    if not answers[0]:
        raise PublishRefused(
            "the message is not taken: the queue is full, or the step is not there any more",
            where=f"key {key!r} of {exchange}",
            remedy="Try again when the queue has room, or start the flow first",
        )
    return key


def read_snapshot(message: Message) -> tuple[str, dict[str, Any]]:
    """Whose snapshot a snapshot queue's message holds, and the whole of it. Raises InputError."""
    try:
        found = json.loads(message.body)
        step, snapshot = found["step"], found["snapshot"]
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"a snapshot that cannot be read: {error!r}") from error
    if not isinstance(step, str) or not isinstance(snapshot, dict):
        raise InputError(f"a snapshot of {step!r} that is no object")
    return step, snapshot


def _is_message(cause: object) -> bool:
    return isinstance(cause, Mapping) and all(
        isinstance(cause.get(name), kind) for name, kind in _MESSAGE_MEMBERS.items()
    )
