"""Checks of the meter that need no scenario: what recording spans costs, and whether clocks agree.

Only raw readings are taken here, for ``meter.json`` of the run directory (docs/formats.md); what
they come to is computed when the certificate is made.
"""

from __future__ import annotations

import json
import statistics
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

from bench.bare.clock import ask
from bench.floor import GRACE_S, bare_spec, wait_for_file
from bench.flows import RuntimeHop
from bench.stage import Stage
from runtime.clock import clock_id, now_ns
from runtime.errors import MeasurementError
from runtime.launch import Instance, Spec
from runtime.spans import OK, PROCESS, Spool

FORMAT = 1
FILE = "meter.json"
PAIRS, QUICK_PAIRS = 40, 8
MESSAGES = 15
"""Of one batch: short enough that drift is the same on both sides of a pair."""
RATE_HZ = 150.0
ROUNDS = 400
BATCHES, WRITES = 60, 100
_PORT = 7711
_TIMEOUT_S = 30.0
Json = dict[str, Any]


def measure(stage: Stage, folder: Path, seed: int, *, quick: bool) -> Json:
    """The content of ``meter.json``. ``folder`` is an empty one that instances may be given."""
    pairs = QUICK_PAIRS if quick else PAIRS
    probe = probe_overhead(stage, folder, seed, pairs)
    written = span_write_ns(folder)
    return {
        "format": FORMAT,
        "probe": {"messages": MESSAGES, "rate_hz": RATE_HZ, **probe},
        "span_write_ns": written,
        "clock_id": clock_id(),
        "clocks": clock_exchanges(stage, folder),
    }


def write(content: Json, run_dir: Path) -> None:
    """Put ``meter.json`` into a run directory."""
    (run_dir / FILE).write_text(json.dumps(content), encoding="utf-8")


def probe_overhead(stage: Stage, folder: Path, seed: int, pairs: int) -> dict[str, list[float]]:
    """p50 of a hop, in ms, with spans recorded and without: batches in turn, in random order.

    One pair before them warms both up.
    """
    seeds, random = count(seed), Random(seed)
    taken: tuple[list[float], list[float]] = ([], [])
    with (
        RuntimeHop(stage, "probe-on", folder, traced=True) as traced,
        RuntimeHop(stage, "probe-off", folder, traced=False) as untraced,
    ):
        hops = (traced, untraced)
        for _ in range(pairs + 1):
            for which in random.sample((0, 1), 2):
                samples_ns = hops[which].batch(MESSAGES, RATE_HZ, next(seeds))
                taken[which].append(statistics.median(samples_ns) / 1e6)
    return {"on_ms": taken[0][1:], "off_ms": taken[1][1:]}


def span_write_ns(folder: Path) -> list[float]:
    """Nanoseconds to record one span, as a worker does after each message: means of batches."""
    spool = Spool(str(folder / "probe.spool"), step=1, clock=clock_id())
    taken = []
    for _ in range(BATCHES):
        before_ns = now_ns()
        for _ in range(WRITES):
            spool.write(spool.encode(PROCESS, OK, 1, 0, 7, 8, 9, before_ns, before_ns))
        taken.append((now_ns() - before_ns) / WRITES)
    spool.close()
    return taken


def clock_exchanges(stage: Stage, folder: Path) -> list[Json]:
    """Readings of clocks against each other: this host's with an instance's, and of two instances.

    Raises MeasurementError where an instance cannot be asked.
    """
    place = "container" if stage.launcher.isolates else "process"
    server = _start(stage, folder / "clock-a", "clock-a", serve=True)
    try:
        ready = wait_for_file(folder / "clock-a" / "ready.json", server, _TIMEOUT_S)
        port = int(ready["port"])
        try:
            from_host = ask(*server.address(port), ROUNDS)
        except OSError as error:
            raise MeasurementError(
                f"its clock cannot be read: {error}", where=server.name, remedy=server.logs(last=5)
            ) from error
        client = _start(stage, folder / "clock-b", "clock-b", asked=("clock-a", port))
        try:
            between = wait_for_file(folder / "clock-b" / "result.json", client, _TIMEOUT_S)
        finally:
            client.stop(grace_s=GRACE_S)
    finally:
        server.stop(grace_s=GRACE_S)
    return [
        {"from": "host", "to": place, **from_host},
        {"from": place, "to": place, **between},
    ]


def _start(
    stage: Stage,
    spool: Path,
    name: str,
    *,
    serve: bool = False,
    asked: tuple[str, int] = ("", 0),
) -> Instance:
    launcher = stage.launcher
    if serve:
        # Containers have their ports to themselves; processes share this host's loopback.
        address, port = ("0.0.0.0", _PORT) if launcher.isolates else ("127.0.0.1", 0)  # noqa: S104
        arguments: tuple[str, ...] = ("serve", address, str(port))
    else:
        arguments = ("ask", launcher.host_name(asked[0]), str(asked[1]), str(ROUNDS))
    made = bare_spec(launcher, name, spool, "clock.py", *arguments)
    ports = (_PORT,) if serve and launcher.isolates else ()
    return launcher.start(
        Spec(
            name=made.name,
            role="service",
            image=made.image,
            env=made.env,
            limits=made.limits,
            spool=made.spool,
            ports=ports,
            argv=made.argv,
        )
    )
