"""The one clock: integer nanoseconds of CLOCK_MONOTONIC, with an id that says whose clock it is."""

from __future__ import annotations

import os
import time

now_ns = time.monotonic_ns
"""Nanoseconds of CLOCK_MONOTONIC. Only values with one clock id may be subtracted."""


def clock_id() -> str:
    """Name the clock that :func:`now_ns` reads: boot id, then time namespace.

    Containers share their host's clock unless they were given a time namespace (Linux
    time_namespaces(7)). Off Linux the node's boot time stands in for the boot id, so that two
    processes of one machine still agree.
    """
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            boot = file.read().strip()
        namespace = os.readlink("/proc/self/ns/time")
    except OSError:
        boot = f"boot-{round(time.time() - time.monotonic())}"
        namespace = "time:[host]"
    return f"{boot} {namespace}"


def wall_offset_ns() -> int:
    """Nanoseconds to add to :func:`now_ns` to get the wall clock (UNIX epoch), now.

    For the engine's event stream, which is stamped with the wall clock. The tightest of a few
    readings is taken, so that a preemption between the two clocks does not count.
    """
    best: tuple[int, int] | None = None
    for _ in range(5):
        before = time.monotonic_ns()
        wall = time.time_ns()
        after = time.monotonic_ns()
        width = after - before
        if best is None or width < best[0]:
            best = (width, wall - (before + after) // 2)
    assert best is not None
    return best[1]
