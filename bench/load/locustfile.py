"""The Locust file: one user that sends open-loop schedules. The only module that imports locust.

The suite starts it headless in a process or container of its own (importing locust replaces the
standard library's sockets with gevent's). By hand, ``locust -f bench/load/locustfile.py`` with
HOPBENCH_LOAD_JOB=FILE sends one job under Locust's own web page. Locust's statistics show confirm
latencies, rounded as Locust rounds; reports are made from spans, never from these.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import Any

from gevent import monkey
from locust import User, events, task

from bench.load import jobs, sender
from runtime.broker import Broker, connect
from runtime.errors import HopbenchError

_IDLE_POLL_S = 0.02
_precise_sleep = monkey.get_original("time", "sleep")


class ScheduleUser(User):
    """Sends each job of its folder, one after another; the schedule, not Locust, sets the pace."""

    def on_start(self) -> None:
        """Say that this process is up: its imports are not to disturb what is measured."""
        self._brokers: dict[str, Broker] = {}
        single = os.environ.get("HOPBENCH_LOAD_JOB")
        self._single = Path(single) if single else None
        self._folder = self._single.parent if self._single else Path(os.environ["HOPBENCH_LOAD"])
        (self._folder / "ready").touch()

    @task
    def next_job(self) -> None:
        """Wait for a job, send it, answer it."""
        job = jobs.read_job(self._single) if self._single else jobs.next_job(self._folder)
        if job is None:
            time.sleep(_IDLE_POLL_S)
            return
        try:
            broker = self._broker(job.broker_url)
            answer = sender.send_job(
                job, broker, self._folder, on_sent=self._report(job), sleep=_precise_sleep
            )
        except (HopbenchError, OSError) as error:
            # A connection that failed once would fail the jobs to come, too.
            self._drop(job.broker_url)
            jobs.fail(self._folder, job, str(error))
            raise
        jobs.answer(self._folder, job, answer)
        if self._single:
            self.environment.runner.quit()

    def _broker(self, url: str) -> Broker:
        if url not in self._brokers:
            self._brokers[url] = connect(url, name="hopbench load")
        return self._brokers[url]

    def _drop(self, url: str) -> None:
        broker = self._brokers.pop(url, None)
        if broker is not None:
            with contextlib.suppress(HopbenchError, OSError):
                # It failed already, with an error that is told.
                broker.close()

    def _report(self, job: jobs.Job) -> sender.Sent:
        def on_sent(confirm_ms: float, size_bytes: int, accepted: bool) -> None:
            events.request.fire(
                request_type="PUBLISH",
                name=job.key,
                response_time=confirm_ms,
                response_length=size_bytes,
                exception=None if accepted else HopbenchError("refused by the broker"),
                context={},
            )

        return on_sent


@events.quitting.add_listener
def _close(environment: Any, **_: Any) -> None:
    """A refused message is in the spans; it must not turn Locust's own exit code red."""
    environment.process_exit_code = 0
