"""Lets pass the messages for which ``cfg["expression"]``, in JSONata, is true; drops the others.

The expression sees the body, and the outputs of earlier steps as ``$passthrough``, by the ids of
their steps, where this step has ``passthrough``: ``$passthrough.source.body.total > total``.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from jsonata import Jsonata


def init(cfg: dict[str, Any]) -> None:
    """Compile the expression before the first message comes."""
    _compiled(cfg["expression"])


def process(
    msg: dict[str, Any], cfg: dict[str, Any], snapshot: dict[str, Any]
) -> dict[str, Any] | None:
    """The message as it came, or nothing.

    Raises what the evaluation raises, and ValueError where it is neither true nor false. Nothing
    (a member that the body does not have) is false, as in JSONata's own predicates.
    """
    bindings = {"passthrough": msg.get("passthrough", {})}
    passes = _compiled(cfg["expression"]).evaluate(msg["body"], bindings)
    if passes is None or passes is False:
        return None
    if passes is not True:
        raise ValueError(
            f"the expression gives a {type(passes).__name__}, not true or false; "
            "$boolean(...) makes one of it"
        )
    return {name: msg[name] for name in ("body", "headers", "attachments")}


@lru_cache(maxsize=8)
def _compiled(expression: str) -> Any:
    compiled = Jsonata(expression)
    # The check walks the whole body; ours was parsed from JSON and can be nothing else.
    compiled.set_validate_input(False)
    return compiled
