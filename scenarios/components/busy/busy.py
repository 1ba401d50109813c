"""A component of known cost: it uses ``cfg["cpu_ms"]`` of processor time, then passes the body on.

Measured on the CPU clock of its own thread: a container that gets half a processor, or shares one,
takes twice as long on the wall and costs the same.
"""

from __future__ import annotations

import math
import time
from typing import Any


def init(cfg: dict[str, Any]) -> None:
    """Raises ValueError where the configuration makes no sense."""
    cpu_ms = cfg["cpu_ms"]
    if not isinstance(cpu_ms, int | float) or not (math.isfinite(cpu_ms) and cpu_ms >= 0):
        raise ValueError(f"cpu_ms is {cpu_ms!r}, not a number from 0")


def process(msg: dict[str, Any], cfg: dict[str, Any], snapshot: dict[str, Any]) -> dict[str, Any]:
    """Work, then pass the body on."""
    end_ns = time.thread_time_ns() + round(cfg["cpu_ms"] * 1e6)
    while time.thread_time_ns() < end_ns:
        pass
    return {"body": msg["body"]}
