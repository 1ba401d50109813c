"""Injects a known delay into ``process``: how a flow responds to one slow component is measured so.

Loaded only by a worker that is told to (HOPBENCH_INJECT_DELAYS); any component can be delayed, and
knows nothing of it. Which step is to wait, and how long, travels with each message.
"""

from __future__ import annotations

import time
from typing import Any

from runtime.message import DELAY_HEADER
from runtime.worker.component import Context, Loaded
from runtime.worker.handler import Handler, now_ns

_SPUN_NS = 300_000
"""The end of a wait is spun: a sleep alone ends about 60 us late, on a busy machine later."""


class DelayingHandler(Handler):
    """A handler whose component seems slower by what the message asks of its step."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._process = self._component.process
        self._component = Loaded(self._delayed)

    def _delayed(
        self, msg: dict[str, Any], cfg: dict[str, Any], snapshot: dict[str, Any], context: Context
    ) -> Any:
        item = self._current
        if item is not None:
            asked = str(item.delivery.message.headers.get(DELAY_HEADER, ""))
            step, _, delay_ms = asked.rpartition("=")
            if step == self.settings.step:
                _wait_until(item.entry_ns + round(float(delay_ms) * 1e6))
        return self._process(msg, cfg, snapshot, context)


def _wait_until(instant_ns: int) -> None:
    remaining_ns = instant_ns - now_ns()
    if remaining_ns > _SPUN_NS:
        time.sleep((remaining_ns - _SPUN_NS) / 1e9)
    while now_ns() < instant_ns:
        pass
