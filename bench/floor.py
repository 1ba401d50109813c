"""The floor under every figure: what machine and broker cost with nothing of hopbench in the way.

Measured beside each run, on the same machine and the same broker, so that results can also be given
as multiples of it. What ``run.json`` stores of it: docs/formats.md, FLOOR.
"""

from __future__ import annotations

import json
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Any, Self

import numpy as np

from runtime.clock import now_ns
from runtime.errors import MeasurementError, StepExited
from runtime.launch import Instance, Launcher, Spec
from runtime.model import Limits
from scenarios.model import Arrivals

BARE = Path(__file__).parent / "bare"
BARE_IN_IMAGE = "/opt/hopbench/bare"
GRACE_S = 5.0
TIMER_READS = 20_000
ECHO = """
import socket, sys
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
peer, _ = listener.accept()
peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
while data := peer.recv(64):
    peer.sendall(data)
"""


def summary(samples_ns: Sequence[int], *, unit_ns: int) -> dict[str, Any]:
    """Mean and quantiles of samples, in units of ``unit_ns``.

    A quantile is None unless at least ten samples lie beyond it.
    """
    samples = np.asarray(samples_ns, dtype=np.int64) / unit_ns
    figures: dict[str, Any] = {"mean": float(samples.mean()), "n": len(samples)}
    for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
        given = round(len(samples) * (1 - share), 6) >= 10
        figures[name] = float(np.quantile(samples, share)) if given else None
    return figures


def timer_resolution_ns(reads: int = TIMER_READS) -> int:
    """The smallest step seen between two readings of the clock that differ."""
    smallest = 0
    before = now_ns()
    for _ in range(reads):
        now = now_ns()
        step = now - before
        before = now
        if step and (not smallest or step < smallest):
            smallest = step
    if not smallest:
        raise MeasurementError(
            f"the clock stood still over {reads} readings",
            where="CLOCK_MONOTONIC",
            remedy="Look at /sys/devices/system/clocksource/clocksource0/current_clocksource",
        )
    return smallest


def scheduling_jitter_ns(sleeps: int = 1000, sleep_ns: int = 1_000_000) -> tuple[int, ...]:
    """By how much each of some sleeps overshot: what an idle machine takes to wake a process."""
    overshoots = []
    for _ in range(sleeps):
        before = now_ns()
        time.sleep(sleep_ns / 1e9)
        overshoots.append(now_ns() - before - sleep_ns)
    return tuple(overshoots)


def loopback_tcp_ns(rounds: int = 1000) -> tuple[int, ...]:
    """One-way times of 64 bytes over loopback TCP: halves of round trips between two processes."""
    with subprocess.Popen(
        [sys.executable, "-S", "-c", ECHO], stdout=subprocess.PIPE, text=True
    ) as echo:
        assert echo.stdout is not None
        line = echo.stdout.readline()
        if not line:
            raise MeasurementError(
                f"the process that echoes ended with code {echo.wait()}",
                where="loopback TCP floor",
                remedy="See its error above",
            )
        with socket.create_connection(("127.0.0.1", int(line)), timeout=10) as peer:
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            data = bytes(64)
            halves = []
            for _ in range(rounds):
                before = now_ns()
                peer.sendall(data)
                received = 0
                while received < len(data):
                    received += len(peer.recv(len(data)))
                halves.append((now_ns() - before) // 2)
    return tuple(halves)


def measure_machine() -> dict[str, Any]:
    """The machine's part of FLOOR: timer, scheduler, loopback TCP. Takes about 1.5 s."""
    return {
        "timer_resolution_ns": timer_resolution_ns(),
        "timer_reads": TIMER_READS,
        "scheduling_jitter_us": with_samples(scheduling_jitter_ns(), unit_ns=1000),
        "loopback_tcp_us": with_samples(loopback_tcp_ns(), unit_ns=1000),
    }


def with_samples(samples_ns: Sequence[int], *, unit_ns: int) -> dict[str, Any]:
    """Figures in units of ``unit_ns``, and the raw samples that intervals are computed from."""
    return {**summary(samples_ns, unit_ns=unit_ns), "samples_ns": list(samples_ns)}


def hop_figures(samples_ns: Sequence[int]) -> dict[str, Any]:
    """The ``broker_hop_ms`` object of FLOOR: figures in milliseconds and the raw samples."""
    return with_samples(samples_ns, unit_ns=1_000_000)


def record(
    machine: dict[str, Any] | None,
    hop_samples_ns: Sequence[int] | None,
    *,
    placement: str,
    body_bytes: int,
    rate_hz: float,
    problems: Sequence[str] = (),
) -> dict[str, Any]:
    """A FLOOR object. What could not be measured is None and needs its reason in ``problems``."""
    missing: dict[str, Any] = dict.fromkeys(
        ("timer_resolution_ns", "scheduling_jitter_us", "loopback_tcp_us")
    )
    return {
        **(missing if machine is None else machine),
        "broker_hop_ms": None if hop_samples_ns is None else hop_figures(hop_samples_ns),
        "placement": placement,
        "body_bytes": body_bytes,
        "rate_hz": rate_hz,
        "problems": list(problems),
    }


def offsets_ns(arrivals: Arrivals, rate_hz: float, messages: int, seed: int) -> tuple[int, ...]:
    """When each message is due, from the beginning of the batch."""
    random = Random(seed)
    due_s = 0.0
    offsets = []
    for _ in range(messages):
        due_s += random.expovariate(rate_hz) if arrivals is Arrivals.POISSON else 1 / rate_hz
        offsets.append(round(due_s * 1e9))
    return tuple(offsets)


def bare_spec(launcher: Launcher, name: str, spool: Path, script: str, *arguments: str) -> Spec:
    """The instance that runs one of the scripts in ``bench/bare`` as it stands."""
    image = launcher.worker_image()
    # The interpreter as workers have it, with its options.
    python = image.argv[: image.argv.index("-m")]
    spool.mkdir(parents=True, exist_ok=True)
    folder = BARE_IN_IMAGE if launcher.isolates else str(BARE)
    return Spec(
        name=name,
        role="floor",
        image=image,
        env={},
        limits=Limits(),
        spool=spool,
        argv=(*python, f"{folder}/{script}", *arguments, launcher.inside(spool)),
    )


def wait_for_file(path: Path, instance: Instance, timeout_s: float) -> dict[str, Any]:
    """The JSON file that an instance writes.

    Raises StepExited when the instance ends first, MeasurementError after ``timeout_s``.
    """
    deadline_ns = now_ns() + round(timeout_s * 1e9)
    look_ns = now_ns() + 500_000_000
    while not path.exists():
        now = now_ns()
        if now > deadline_ns:
            raise MeasurementError(
                f"no {path.name} after {timeout_s:g} s",
                where=f"floor client {instance.name}",
                remedy="Does the broker take messages? It may not when its disk is full. "
                f"The client's last lines: {instance.logs() or 'none'}",
            )
        if now > look_ns:
            # Asking costs an engine call, which would disturb a batch if it were asked often.
            look_ns = now + 500_000_000
            if not instance.alive():
                raise StepExited(
                    "the floor's client ended",
                    where=instance.name,
                    remedy=f"Its last lines: {instance.logs() or 'none'}",
                )
        time.sleep(0.002)
    content: dict[str, Any] = json.loads(path.read_text(encoding="ascii"))
    return content


class HopFloor:
    """Two plain clients, one sending to the other over the broker: the bare broker hop.

    They are started by ``launcher`` beside the flow's own instances and stay up between batches,
    at no cost. ``broker_url`` is the one that instances use; ``spool`` an empty folder. Use as a
    context manager.
    """

    def __init__(
        self,
        launcher: Launcher,
        broker_url: str,
        spool: Path,
        *,
        name: str = "floor",
        timeout_s: float = 30.0,
    ) -> None:
        self._launcher = launcher
        self._url = broker_url
        self._spool = spool
        self._name = name
        self._timeout_s = timeout_s
        self._batch = 0
        self._source: Instance | None = None
        self._sink: Instance | None = None

    def __enter__(self) -> Self:
        """Start both clients and wait until they are connected."""
        queue = f"hopbench-floor-{secrets.token_hex(4)}"
        try:
            # The sink first: it declares the queue.
            self._sink = self._start("sink", queue)
            self._source = self._start("source", queue)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop both clients."""
        self.close()

    def _start(self, role: str, queue: str) -> Instance:
        spool = self._spool / role
        spec = bare_spec(
            self._launcher, f"{self._name}-{role}", spool, "hop.py", role, self._url, queue
        )
        instance = self._launcher.start(spec)
        try:
            wait_for_file(spool / "ready.json", instance, self._timeout_s)
        except BaseException:
            instance.stop(grace_s=GRACE_S)
            raise
        return instance

    @property
    def instances(self) -> tuple[Instance, ...]:
        """The two clients, source first."""
        return tuple(one for one in (self._source, self._sink) if one is not None)

    def batch(
        self,
        messages: int,
        rate_hz: float,
        body_bytes: int,
        seed: int,
        arrivals: Arrivals = Arrivals.POISSON,
    ) -> tuple[int, ...]:
        """Send messages one at a time; the nanoseconds from emitted to in hand of each.

        Raises MeasurementError when a message does not arrive, StepExited when a client ended.
        """
        if self._source is None or self._sink is None:
            raise MeasurementError(
                "the floor's clients are not running",
                where=self._name,
                remedy="Use HopFloor as a context manager",
            )
        self._batch += 1
        offsets = offsets_ns(arrivals, rate_hz, messages, seed)
        order = self._spool / "source" / f"order-{self._batch}.json"
        part = order.with_suffix(".part")
        part.write_text(
            json.dumps({"offsets_ns": offsets, "body_bytes": body_bytes}), encoding="ascii"
        )
        # The client may run as another user than we do.
        part.chmod(0o644)
        part.rename(order)
        result = f"result-{self._batch}.json"
        lasts_s = offsets[-1] / 1e9
        # Nothing can be there yet, and looking for it would keep a core from sleeping.
        time.sleep(lasts_s)
        emitted = wait_for_file(self._spool / "source" / result, self._source, self._timeout_s)
        arrived = wait_for_file(self._spool / "sink" / result, self._sink, self._timeout_s)
        pairs = zip(emitted["emit_ns"], arrived["arrival_ns"], strict=True)
        return tuple(arrival - emit for emit, arrival in pairs)

    def close(self) -> None:
        """Stop both clients. Idempotent."""
        for instance in self.instances:
            instance.stop(grace_s=GRACE_S)
        self._source = self._sink = None


@dataclass(frozen=True, slots=True)
class StartFloor:
    """Milliseconds for bare instances that import the client library and connect.

    ``parallel_ms``: from the first start call until the last one is connected. ``in_a_row_ms``:
    start, connect, stop and remove, one after another.
    """

    parallel_ms: float
    in_a_row_ms: float


def bare_starts_in_parallel_ms(
    launcher: Launcher, broker_url: str, spool: Path, *, count: int = 3, timeout_s: float = 60.0
) -> float:
    """Milliseconds until ``count`` bare instances, started at once, are all connected."""
    run = secrets.token_hex(3)
    specs = [
        bare_spec(launcher, f"bare-{run}-{n}", spool / f"{run}-{n}", "connect.py", broker_url)
        for n in range(count)
    ]
    with ThreadPoolExecutor(count) as pool:
        start_ns = now_ns()
        starts = [pool.submit(launcher.start, spec) for spec in specs]
    try:
        last_ns = max(
            _connected_ns(start.result(), spec, timeout_s)
            for start, spec in zip(starts, specs, strict=True)
        )
    finally:
        for start in starts:
            if start.exception() is None:
                start.result().stop(grace_s=GRACE_S)
    return (last_ns - start_ns) / 1e6


def bare_starts_in_a_row_ms(
    launcher: Launcher, broker_url: str, spool: Path, *, count: int = 3, timeout_s: float = 60.0
) -> float:
    """Milliseconds for start, connect and stop of ``count`` bare instances, one after another."""
    run = secrets.token_hex(3)
    specs = [
        bare_spec(launcher, f"bare-{run}-{n}", spool / f"{run}-{n}", "connect.py", broker_url)
        for n in range(count)
    ]
    start_ns = now_ns()
    for spec in specs:
        instance = launcher.start(spec)
        try:
            _connected_ns(instance, spec, timeout_s)
        finally:
            instance.stop(grace_s=GRACE_S)
    return (now_ns() - start_ns) / 1e6


def bare_start_floor(launcher: Launcher, broker_url: str, spool: Path) -> StartFloor:
    """The floor under the start of a flow of three steps, in either mode."""
    return StartFloor(
        parallel_ms=bare_starts_in_parallel_ms(launcher, broker_url, spool),
        in_a_row_ms=bare_starts_in_a_row_ms(launcher, broker_url, spool),
    )


def _connected_ns(instance: Instance, spec: Spec, timeout_s: float) -> int:
    assert spec.spool is not None
    stamp = wait_for_file(spec.spool / "connected.json", instance, timeout_s)
    return int(stamp["connected_ns"])
