"""Tries failed messages again: each is published to its step's queue, then forgotten as a failure.

In this order, so that a crash in between can bring a message twice, and cannot lose it.
"""

from __future__ import annotations

import base64
import binascii
import secrets
from collections.abc import Mapping
from contextlib import closing
from typing import Any

from runtime.broker import Message, Route, connect
from runtime.control.left import publish_all
from runtime.control.plan import Plan
from runtime.errors import InputError, PublishRefused
from runtime.store import Store


def retry(url: str, plan: Plan, store: Store, number: int | None) -> int:
    """Publish the message of one failure, or of all that have a whole one; return how many.

    Raises InputError for one that cannot be tried again, and PublishRefused where a queue is full:
    what had been taken by then is under way, the rest is a failure still.
    """
    flow = plan.flow
    if number is None:
        chosen = [one.id for one in store.failures.entries(flow) if one.is_whole]
    else:
        chosen = [number]
    count = 0
    with closing(connect(url, name=f"hopbench retry {flow}")) as broker:
        for each in chosen:
            route, message = _again(plan, each, store.failures.cause(flow, each))
            if not all(publish_all(broker, route, [message])):
                raise PublishRefused(
                    f"the message of error {each} was refused after {count} had been taken",
                    where=f"{route.exchange}, key {route.key}",
                    remedy="Try again when the step's queue has room",
                )
            store.failures.remove(flow, [each])
            count += 1
    return count


def _again(plan: Plan, number: int, cause: Mapping[str, Any] | None) -> tuple[Route, Message]:
    where = f"flow {plan.flow!r}, error {number}"
    if cause is None:
        raise InputError("has no message that could be tried again", where=where)
    if cause.get("cut"):
        raise InputError(
            f"its message of {cause.get('bytes')} bytes was too large to be kept whole",
            where=where,
            remedy="Send it again from where it came",
        )
    wiring = plan.wiring
    # The place of a step may have changed since; its id says which one it is.
    step = str(cause.get("key", "")).partition(".")[2]
    keys = {key.partition(".")[2]: key for key in wiring.keys}
    if step not in keys:
        raise InputError(
            f"its message is for step {step!r}, and the version that runs has none such",
            where=where,
            remedy=f"Publish a version that has it; the steps are {', '.join(keys)}",
        )
    try:
        body = base64.b64decode(str(cause["body"]), validate=True)
        headers = {str(name): value for name, value in dict(cause["headers"]).items()}
    except (KeyError, TypeError, ValueError, binascii.Error) as error:
        raise InputError(f"its message cannot be read: {error}", where=where) from error
    headers["messageId"] = f"{secrets.randbits(63) | 1:016x}"
    # It begins anew: what it was sent back for before does not count.
    for name in ("reboundIteration", "reboundReason"):
        headers.pop(name, None)
    route = Route(wiring.topology.exchange, keys[step])
    return route, Message(body, headers, bool(cause.get("persistent")))
