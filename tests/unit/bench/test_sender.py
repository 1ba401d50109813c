"""The sender of a schedule, with a broker in hand: what is recorded, and how it is ended early."""

from __future__ import annotations

import time
from pathlib import Path

from bench.load import jobs
from bench.load.sender import send_job
from runtime.broker import Delivery, Message, QueueDepth, Route, Settled, Topology
from runtime.spans import OK, REFUSED, SEND
from runtime.spool import read_spool


class _Accepting:
    """Confirms at once, but refuses the second message; stops the job after some messages."""

    def __init__(self, folder: Path, stop_after: int) -> None:
        self.folder = folder
        self.stop_after = stop_after
        self.published = 0

    def publish(self, route: Route, message: Message, settled: Settled | None = None) -> int:
        """Count it, and settle it."""
        self.published += 1
        if self.published == self.stop_after:
            jobs.stop(self.folder, "job")
        assert settled is not None
        settled(self.published != 2, time.monotonic_ns())
        return time.monotonic_ns()

    def receive(self, timeout_s: float) -> Delivery | None:
        """Wait as long as a broker would."""
        time.sleep(timeout_s)
        return None

    def settle(self, timeout_s: float) -> bool:
        """All is settled already."""
        return True

    def declare(self, topology: Topology) -> None: ...
    def delete(self, topology: Topology) -> None: ...
    def subscribe(self, queue: str, *, prefetch: int) -> None: ...
    def keep_alive(self) -> None: ...
    def wake(self) -> None: ...
    def ack(self, delivery: Delivery) -> None: ...
    def reject(self, delivery: Delivery) -> None: ...
    def depth(self, queue: str) -> QueueDepth: ...  # type: ignore[empty-body]
    def get(self, queue: str) -> Delivery | None: ...
    def close(self) -> None: ...


def _job(rate_hz: float, messages: int) -> jobs.Job:
    cells = (jobs.Cell(100, None),)
    return jobs.Job("job", "amqp://x", "exchange", "key", 1, "constant", rate_hz, messages, cells)


def _send(folder: Path, job: jobs.Job, stop_after: int) -> tuple[jobs.Answer, _Accepting]:
    broker = _Accepting(folder, stop_after)
    answer = send_job(job, broker, folder, on_sent=lambda *_: None, sleep=time.sleep)
    return answer, broker


def test_a_whole_schedule(tmp_path: Path) -> None:
    """Each message is sent once and recorded with what the broker said of it."""
    answer, broker = _send(tmp_path, _job(500.0, 5), stop_after=0)
    records = read_spool(jobs.spool_path(tmp_path, "job")).records
    assert (answer.sent, broker.published) == (5, 5)
    assert records["kind"].tolist() == [SEND] * 5
    assert records["outcome"].tolist() == [OK, REFUSED, OK, OK, OK]


def test_a_stopped_schedule_ends_early(tmp_path: Path) -> None:
    """A schedule of an hour and more ends when its job is stopped; what was sent is recorded."""
    for rate_hz in (0.01, 1e6):
        (tmp_path / str(rate_hz)).mkdir()
        answer, broker = _send(tmp_path / str(rate_hz), _job(rate_hz, 300_000), stop_after=1)
        records = read_spool(jobs.spool_path(tmp_path / str(rate_hz), "job")).records
        assert 1 <= answer.sent == broker.published == len(records) < 300_000
