"""Answers who called the flow's webhook and waits: the body, with the status ``cfg["status"]``.

The message goes on to the next step, where there is one. A call that does not wait for a reply
becomes an error of this step, which says so.
"""

from __future__ import annotations

from typing import Any

_OK = 200


def process(
    msg: dict[str, Any], cfg: dict[str, Any], snapshot: dict[str, Any], context: Any
) -> dict[str, Any]:
    """Reply with the body, and pass it on. Raises ValueError for a status that is none."""
    status = cfg.get("status", _OK)
    if isinstance(status, bool) or not isinstance(status, int) or not 200 <= status <= 599:
        raise ValueError(f"status is {status!r}; give a number from 200 to 599")
    context.emit("httpReply", {"body": msg["body"], "statusCode": status})
    return {name: msg[name] for name in ("body", "headers", "attachments")}
