"""Sends one schedule, or its share of one: each message at its intended instant.

In an open loop whatever the system does; in a closed one when the execution before has ended, too.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from resource import RUSAGE_SELF, getrusage

from bench.load.executions import Executions
from bench.load.jobs import Answer, Job, begins_ns, is_stopped, say_prepared, spool_path
from bench.load.schedule import Arrival, build_schedule, deal
from runtime.broker import Broker, Message, Route
from runtime.clock import clock_id, now_ns
from runtime.errors import MeasurementError
from runtime.message import Ids, delay_headers, encode_headers, network_delay_headers
from runtime.spans import FIRST, LOAD_STEP, OK, REFUSED, SEND, Spool

Sent = Callable[[float, int, bool], None]
"""Told of each message when it is settled: confirm latency (ms), size (bytes), accepted or not."""
Sleep = Callable[[float], None]

_LEAD_NS = 10_000_000
_FINE_NS = 2_500_000
_BEHIND_NS = 1_000_000
_TURN_NS = 5_000_000
_SETTLE_TIMEOUT_S = 30.0
_GO_TIMEOUT_NS = 60_000_000_000
_GO_POLL_S = 0.002
_END_POLL_S = 0.000_2
"""How often a closed loop looks whether the execution has ended: its own part in what it waits."""
_LOOK_NS = 100_000_000
"""How often we look whether the job was stopped: between messages, and while we wait."""


def send_job(job: Job, broker: Broker, folder: Path, *, on_sent: Sent, sleep: Sleep) -> Answer:
    """Send every message of a job, record a SEND span for each, wait for the confirms.

    ``sleep`` must be precise: the last 2.5 ms before each intended instant are slept with it, the
    time before that is spent inside the broker's loop, where confirms are received. A job that is
    stopped ends early, without an error. Raises BrokerError, and MeasurementError when the broker
    leaves messages unconfirmed or, in a closed loop, an execution does not end.
    """
    schedule = build_schedule(
        seed=job.seed,
        arrivals=job.arrivals,
        rate_hz=job.rate_hz,
        delays_ms=[cell.delay_ms for cell in job.cells],
        messages_per_cell=job.messages_per_cell,
    )
    share = deal(schedule, job.part, job.parts)
    with contextlib.ExitStack() as stack:
        following = None
        if job.follow:
            following = Executions([folder / name for name in job.follow])
            stack.callback(following.close)
        spool = Spool(str(spool_path(folder, job.name)), step=LOAD_STEP, clock=clock_id())
        stack.callback(spool.close)
        sender = _Sender(job, broker, folder, spool, following, on_sent, sleep)
        start_ns = sender.start_ns()
        cpu_before_s, began_ns = _cpu_s(), now_ns()
        sent = 0 if start_ns is None else sender.send(share, start_ns)
        end_ns = now_ns()
        cpu_s = _cpu_s() - cpu_before_s
    return Answer(sent, start_ns or began_ns, end_ns, cpu_s, clock_id(), (end_ns - began_ns) / 1e9)


class _Sender:
    """What stays the same from message to message."""

    def __init__(
        self,
        job: Job,
        broker: Broker,
        folder: Path,
        spool: Spool,
        following: Executions | None,
        on_sent: Sent,
        sleep: Sleep,
    ) -> None:
        self._job, self._broker, self._folder, self._spool = job, broker, folder, spool
        self._following, self._on_sent, self._sleep = following, on_sent, sleep
        self._route = Route(job.exchange, job.key)
        # Message ids must not meet those that workers make from four random bytes of their own.
        self._base = int.from_bytes(os.urandom(4), "big") << 32
        self._fillers = [_filler(job, index) for index in range(len(job.cells))]
        self._extras = [
            delay_headers(cell.delayed_step, cell.injected_delay_ms)
            | network_delay_headers(cell.network_delay_ms)
            for cell in job.cells
        ]
        self._look_ns = self._turn_ns = 0

    def start_ns(self) -> int | None:
        """When the schedule begins: very soon or, where it is shared, when all are told to.

        None when the job was stopped meanwhile.
        """
        job = self._job
        if job.parts == 1:
            return now_ns() + _LEAD_NS
        say_prepared(self._folder, job)
        give_up_ns = now_ns() + _GO_TIMEOUT_NS
        while True:
            start_ns = begins_ns(self._folder, job.name)
            now = now_ns()
            if start_ns is not None or self._stopped(now):
                return start_ns
            if now > give_up_ns:
                raise MeasurementError(
                    f"nobody said when to start within {_GO_TIMEOUT_NS / 1e9:g} s",
                    where=f"job {job.name}, part {job.part} of {job.parts}",
                    remedy="By hand, send a job in one part",
                )
            self._broker.receive(_GO_POLL_S)

    def send(self, share: tuple[tuple[int, Arrival], ...], start_ns: int) -> int:
        """Send a share of the schedule, wait for the confirms; returns how many were sent."""
        job, sent = self._job, 0
        for number, arrival in share:
            trace = job.first_trace + number
            body = _body(job, arrival, trace, self._fillers)
            ids = Ids(trace, self._base + trace, 0)
            headers = encode_headers(ids, self._extras[arrival.cell])
            message = Message(body, headers, job.persistent)
            intended_ns = start_ns + arrival.offset_ns
            if (sent and self._await_end()) or self._wait_until(intended_ns):
                break
            self._publish(message, ids, arrival.cell, intended_ns, first=number == 0)
            sent += 1
        if not self._broker.settle(_SETTLE_TIMEOUT_S):
            raise MeasurementError(
                f"the broker confirmed not every message within {_SETTLE_TIMEOUT_S:g} s",
                where=f"exchange {job.exchange}",
                remedy="Is the broker out of memory or disk? Its log says",
            )
        return sent

    def _publish(
        self, message: Message, ids: Ids, cell: int, intended_ns: int, *, first: bool
    ) -> None:
        if self._following is not None:
            self._following.sent(ids.trace, ids.message)
        emit_ns = now_ns()
        socket_ns = emit_ns

        def settled(accepted: bool, learned_ns: int) -> None:
            outcome, flags = (OK if accepted else REFUSED), (FIRST if first else 0)
            instants = (intended_ns, emit_ns, socket_ns, learned_ns)
            record = self._spool.encode(
                SEND, outcome, cell, flags, ids.trace, ids.message, 0, *instants
            )
            self._spool.write(record)
            self._on_sent((learned_ns - emit_ns) / 1e6, len(message.body), accepted)
            if self._following is not None and not accepted:
                self._following.refused(ids.trace)

        socket_ns = self._broker.publish(self._route, message, settled)

    def _wait_until(self, instant_ns: int) -> bool:
        """Wait for an instant; True when the job was stopped meanwhile."""
        while True:
            now = now_ns()
            if self._stopped(now):
                return True
            remaining_ns = instant_ns - now
            if remaining_ns <= 0:
                if remaining_ns < -_BEHIND_NS and now >= self._turn_ns:
                    # Late anyway: what arrived meanwhile must not wait for the schedule's end.
                    self._turn_ns = now + _TURN_NS
                    self._broker.receive(0.0)
                return False
            if remaining_ns > _FINE_NS:
                # Nothing is subscribed to: this only receives confirms and answers heartbeats.
                self._broker.receive(min(remaining_ns - _FINE_NS, _LOOK_NS) / 1e9)
            else:
                self._sleep(remaining_ns / 1e9)

    def _await_end(self) -> bool:
        """In a closed loop, wait for the end of the last execution; True when stopped meanwhile."""
        following, patience_s = self._following, self._job.patience_s
        if following is None:
            return False
        give_up_ns = now_ns() + round(patience_s * 1e9)
        while not following.have_ended():
            now = now_ns()
            if self._stopped(now):
                return True
            if now > give_up_ns:
                raise MeasurementError(
                    f"an execution has not ended within {patience_s:g} s, and a closed loop waits "
                    "for it",
                    where=f"exchange {self._job.exchange}",
                    remedy="Does a component hang? A longer drain_timeout waits longer",
                )
            self._broker.receive(0.0)
            self._sleep(_END_POLL_S)
        return False

    def _stopped(self, now: int) -> bool:
        """Whether the job was stopped; a look at the disk only now and then."""
        if now < self._look_ns:
            return False
        self._look_ns = now + _LOOK_NS
        return is_stopped(self._folder, self._job.name)


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
