"""Tries failed messages again: each is published to its step's queue, then forgotten as a failure.

In this order, so that a crash in between can bring a message twice, and cannot lose it.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from typing import Any

from runtime.broker import connect
from runtime.control.plan import Plan
from runtime.errors import InputError
from runtime.retry import publish_again
from runtime.store import Store

_ALL = 1_000_000


def retry(url: str, plan: Plan, store: Store, number: int | None) -> int:
    """Publish the message of one failure, or of all that can be; return how many.

    Of all, those without a whole message or without a step stay what they are. Raises InputError
    for one that cannot be tried again, and PublishRefused where a queue is full: what had been
    taken by then is under way, the rest is a failure still.
    """
    flow = plan.flow
    steps = {step.id for step in plan.definition.steps}
    if number is None:
        listed = store.failures.entries(flow, limit=_ALL)
        chosen = [one.id for one in listed if one.is_whole and one.step in steps]
    else:
        chosen = [number]
    exchange = plan.wiring.topology.exchange
    count = 0
    with closing(connect(url, name=f"hopbench retry {flow}")) as broker:
        for each in chosen:
            cause = store.failures.cause(flow, each)
            publish_again(broker, exchange, _at_its_place(plan, each, cause))
            store.failures.remove(flow, [each])
            count += 1
    return count


def _at_its_place(
    plan: Plan, number: int, cause: Mapping[str, Any] | None
) -> Mapping[str, Any] | None:
    """The message with the key that its step has now: its place in the flow may have changed."""
    if cause is None:
        return None
    step = str(cause.get("key", "")).partition(".")[2]
    keys = {key.partition(".")[2]: key for key in plan.wiring.keys}
    if step not in keys:
        raise InputError(
            f"its message is for step {step!r}, which the version that runs does not have",
            where=f"flow {plan.flow!r}, error {number}",
            remedy=f"Publish a version that has it; the steps are {', '.join(keys)}",
        )
    return {**cause, "key": keys[step]}
