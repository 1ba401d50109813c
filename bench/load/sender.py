"""Sends one schedule: each message at its intended instant, whatever the system does."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from resource import RUSAGE_SELF, getrusage

from bench.load.jobs import Answer, Job, is_stopped, spool_path
from bench.load.schedule import Arrival, build_schedule
from runtime.broker import Broker, Message, Route
from runtime.clock import clock_id, now_ns
from runtime.errors import MeasurementError
from runtime.message import Ids, delay_headers, encode_headers
from runtime.spans import FIRST, LOAD_STEP, OK, REFUSED, SEND, Spool

Sent = Callable[[float, int, bool], None]
"""Told of each message when it is settled: confirm latency (ms), size (bytes), accepted or not."""
Sleep = Callable[[float], None]

_LEAD_NS = 10_000_000
_FINE_NS = 2_500_000
_SETTLE_TIMEOUT_S = 30.0
_LOOK_NS = 100_000_000
"""How often we look whether the job was stopped: between messages, and while we wait."""


def send_job(job: Job, broker: Broker, folder: Path, *, on_sent: Sent, sleep: Sleep) -> Answer:
    """Send every message of a job, record a SEND span for each, wait for the confirms.

    ``sleep`` must be precise: the last 2.5 ms before each intended instant are slept with it, the
    time before that is spent inside the broker's loop, where confirms are received. A job that is
    stopped ends early, without an error. Raises BrokerError, and MeasurementError when the broker
    leaves messages unconfirmed.
    """
    schedule = build_schedule(
        seed=job.seed,
        arrivals=job.arrivals,
        rate_hz=job.rate_hz,
        delays_ms=[cell.delay_ms for cell in job.cells],
        messages_per_cell=job.messages_per_cell,
    )
    spool = Spool(str(spool_path(folder, job.name)), step=LOAD_STEP, clock=clock_id())
    cpu_before_s = _cpu_s()
    # Message ids must not meet those that workers make from four random bytes of their own.
    base = int.from_bytes(os.urandom(4), "big") << 32
    route = Route(job.exchange, job.key)
    fillers = [_filler(job, index) for index in range(len(job.cells))]
    extras = [delay_headers(cell.delayed_step, cell.injected_delay_ms) for cell in job.cells]
    stopped = _stopped(job, folder)
    sent = 0
    start_ns = now_ns() + _LEAD_NS
    try:
        for number, arrival in enumerate(schedule):
            trace = job.first_trace + number
            body = _body(job, arrival, trace, fillers)
            ids = Ids(trace, base + trace, 0)
            message = Message(body, encode_headers(ids, extras[arrival.cell]), job.persistent)
            intended_ns = start_ns + arrival.offset_ns
            if _wait_until(intended_ns, broker, sleep, stopped):
                break
            _publish(broker, route, message, ids, arrival, intended_ns, spool, number == 0, on_sent)
            sent += 1
        if not broker.settle(_SETTLE_TIMEOUT_S):
            raise MeasurementError(
                f"the broker confirmed not every message within {_SETTLE_TIMEOUT_S:g} s",
                where=f"exchange {job.exchange}",
                remedy="Is the broker out of memory or disk? Its log says",
            )
    finally:
        spool.close()
    return Answer(sent, start_ns, now_ns(), _cpu_s() - cpu_before_s, clock_id())


def _publish(
    broker: Broker,
    route: Route,
    message: Message,
    ids: Ids,
    arrival: Arrival,
    intended_ns: int,
    spool: Spool,
    first: bool,
    on_sent: Sent,
) -> None:
    emit_ns = now_ns()
    socket_ns = emit_ns

    def settled(accepted: bool, learned_ns: int) -> None:
        outcome, flags = (OK if accepted else REFUSED), (FIRST if first else 0)
        instants = (intended_ns, emit_ns, socket_ns, learned_ns)
        record = spool.encode(
            SEND, outcome, arrival.cell, flags, ids.trace, ids.message, 0, *instants
        )
        spool.write(record)
        on_sent((learned_ns - emit_ns) / 1e6, len(message.body), accepted)

    socket_ns = broker.publish(route, message, settled)


def _wait_until(
    instant_ns: int, broker: Broker, sleep: Sleep, stopped: Callable[[int], bool]
) -> bool:
    """Wait for an instant; True when the job was stopped meanwhile."""
    while True:
        now = now_ns()
        if stopped(now):
            return True
        remaining_ns = instant_ns - now
        if remaining_ns <= 0:
            return False
        if remaining_ns > _FINE_NS:
            # Nothing is subscribed to: this only receives confirms and answers heartbeats.
            broker.receive(min(remaining_ns - _FINE_NS, _LOOK_NS) / 1e9)
        else:
            sleep(remaining_ns / 1e9)


def _stopped(job: Job, folder: Path) -> Callable[[int], bool]:
    """Says at an instant whether the job was stopped; a look at the disk only now and then."""
    look_ns = 0

    def stopped(now: int) -> bool:
        nonlocal look_ns
        if now < look_ns:
            return False
        look_ns = now + _LOOK_NS
        return is_stopped(folder, job.name)

    return stopped


def _filler(job: Job, cell: int) -> str:
    """Data that brings a message's body to its cell's size, envelope included."""
    envelope = len(_json(job, cell, 10**6, ""))
    return "x" * max(0, job.cells[cell].payload_bytes - envelope)


def _body(job: Job, arrival: Arrival, trace: int, fillers: list[str]) -> bytes:
    return _json(job, arrival.cell, trace, fillers[arrival.cell])


def _json(job: Job, cell: int, sequence: int, data: str) -> bytes:
    body = {"sequence": sequence, "delay_ms": job.cells[cell].api_delay_ms, "data": data}
    return json.dumps({"body": body, "headers": {}}, separators=(",", ":")).encode()


def _cpu_s() -> float:
    usage = getrusage(RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
