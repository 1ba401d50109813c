"""The sender of a schedule, with a broker in hand: what is recorded, and how it is ended early."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from bench.load import jobs
from bench.load.schedule import build_schedule
from bench.load.sender import send_job
from runtime.broker import Delivery, Message, QueueDepth, Route, Settled, Topology
from runtime.errors import InputError, MeasurementError
from runtime.spans import FIRST, OK, PROCESS, REFUSED, SEND, Spool
from runtime.spool import SpoolTail, read_spool


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

    def publish_later(  # type: ignore[empty-body]
        self, route: Route, message: Message, delay_ms: int, settled: Settled | None = None
    ) -> int: ...
    def declare(self, topology: Topology) -> None: ...
    def delete(self, topology: Topology) -> None: ...
    def seal(self, topology: Topology) -> None: ...
    def hasten(self, topology: Topology) -> int: ...  # type: ignore[empty-body]
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


def _send(folder: Path, job: jobs.Job, stop_after: int = 0) -> tuple[jobs.Answer, _Accepting]:
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


def test_shares_are_sent_from_one_instant(tmp_path: Path) -> None:
    """Three generators of one schedule: each waits for the word, all begin at the same instant."""
    job = _job(500.0, 10)._replace(arrivals="poisson")
    folders = [tmp_path / str(part) for part in range(3)]
    for folder in folders:
        folder.mkdir()
    with ThreadPoolExecutor(3) as generators:
        sendings = [
            generators.submit(_send, folder, job._replace(part=part, parts=3))
            for part, folder in enumerate(folders)
        ]
        while not all(jobs.is_prepared(folder, "job") for folder in folders):
            time.sleep(0.001)
        assert [jobs.outcome(folder, "job") for folder in folders] == [None] * 3
        start_ns = time.monotonic_ns() + 20_000_000
        for folder in folders:
            jobs.go(folder, "job", start_ns)
    answers = [sending.result()[0] for sending in sendings]
    assert [answer.sent for answer in answers] == [4, 3, 3]
    assert {answer.start_ns for answer in answers} == {start_ns}
    parts = [read_spool(jobs.spool_path(folder, "job")).records for folder in folders]
    merged = np.sort(np.concatenate(parts), order="trace")
    schedule = build_schedule(
        seed=1, arrivals="poisson", rate_hz=500.0, delays_ms=[0.0], messages_per_cell=10
    )
    assert merged["trace"].tolist() == list(range(1, 11))
    assert merged["flags"].tolist() == [FIRST] + [0] * 9
    assert (merged["t0_ns"] - start_ns).tolist() == [arrival.offset_ns for arrival in schedule]


def test_a_share_is_stopped_before_it_begins(tmp_path: Path) -> None:
    """A generator that waits for the word and is stopped answers that it has sent nothing."""
    jobs.stop(tmp_path, "job")
    answer, broker = _send(tmp_path, _job(500.0, 10)._replace(part=1, parts=2))
    assert (answer.sent, broker.published) == (0, 0)


def test_a_closed_loop_sends_when_the_execution_has_ended(tmp_path: Path) -> None:
    """Due at once, and held back until the step's spool says that the one before is done."""
    step = Spool(str(tmp_path / "step.spool"), step=0, clock="c")
    job = _job(1e6, 3)._replace(follow=("step.spool",), patience_s=30.0)
    with ThreadPoolExecutor(1) as generator:
        sending = generator.submit(_send, tmp_path, job)
        tail = SpoolTail(jobs.spool_path(tmp_path, "job"))
        while not len(sent := tail.new_records()):
            time.sleep(0.001)
        time.sleep(0.02)
        assert not len(tail.new_records())
        end_ns = time.monotonic_ns()
        trace, message = int(sent["trace"][0]), int(sent["message"][0])
        step.write(step.encode(PROCESS, OK, 0, 0, trace, message, 0, 1, 2, 3, 4))
    # The second one is refused: there is nothing to be waited for before the third.
    answer, _ = sending.result()
    records = read_spool(jobs.spool_path(tmp_path, "job")).records
    assert (answer.sent, records["outcome"].tolist()) == (3, [OK, REFUSED, OK])
    assert records["t1_ns"][1] > end_ns
    assert np.diff(records["t0_ns"]).tolist() == [1000, 1000]


def test_a_closed_loop_loses_patience(tmp_path: Path) -> None:
    """An execution that does not end within its time is an error, which names what to change."""
    Spool(str(tmp_path / "step.spool"), step=0, clock="c").close()
    job = _job(1e6, 3)._replace(follow=("step.spool",), patience_s=0.05)
    with pytest.raises(MeasurementError, match=r"not ended within 0\.05 s.*drain_timeout"):
        _send(tmp_path, job)


def test_a_closed_loop_is_stopped(tmp_path: Path) -> None:
    """A job that is stopped while an execution is waited for ends without an error."""
    Spool(str(tmp_path / "step.spool"), step=0, clock="c").close()
    answer, _ = _send(tmp_path, _job(1e6, 3)._replace(follow=("step.spool",)), stop_after=1)
    assert answer.sent == 1


def test_a_job_survives_its_file(tmp_path: Path) -> None:
    """What is read from a job's file is what was submitted."""
    job = _job(5.0, 2)._replace(part=1, parts=2, follow=("a", "b"), patience_s=2.0)
    jobs.submit(tmp_path, job)
    assert jobs.next_job(tmp_path) == job


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"name": "x", "cells": [{"bytes": 1}]}'])
def test_a_file_that_is_no_job(tmp_path: Path, text: str) -> None:
    """A file by hand that is none is an error that names it."""
    path = tmp_path / "x.job.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"x\.job\.json: this is no job"):
        jobs.read_job(path)
