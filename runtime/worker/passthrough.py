"""Hands on what earlier steps emitted, so that a later step can read it.

A message names the step that emitted it, and carries what came before under the ids of their steps;
who receives it adds the message itself. So nothing crosses the broker twice in one message. As the
official component runtime does it with ``NO_SELF_PASSTRHOUGH`` (its own spelling).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runtime.message import STEP_HEADER
from runtime.worker.settings import Settings

if TYPE_CHECKING:
    from runtime.worker.handler import Input

_MEMBER = "passthrough"


def receive(settings: Settings, item: Input, message: dict[str, Any]) -> None:
    """Take what was passed from a message, add the message; leave it there for who may read it."""
    passed = message.pop(_MEMBER, None)
    item.passed = dict(passed) if isinstance(passed, dict) else {}
    sender = item.delivery.message.headers.get(STEP_HEADER)
    if isinstance(sender, str):
        item.passed.setdefault(sender, dict(message))
    if settings.reads_passthrough:
        message[_MEMBER] = dict(item.passed)


def hand_on(settings: Settings, item: Input, message: dict[str, Any]) -> dict[str, Any]:
    """A message to be sent, with what is passed on, or without what it was made from."""
    handed = {name: value for name, value in message.items() if name != _MEMBER}
    if settings.carries_passthrough:
        handed[_MEMBER] = item.passed
    return handed
