"""The Locust file: one user that sends schedules. The only module that imports locust.

The suite starts it headless in a process or container of its own (importing locust replaces the
standard library's sockets with gevent's). By hand, ``locust -f bench/load/locustfile.py`` with
HOPBENCH_LOAD_JOB=FILE sends one job under Locust's own web page. Locust's statistics show confirm
latencies, rounded as Locust rounds; reports are made from spans, never from these.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from pathlib import Path
from typing import Any

from gevent import monkey
from locust import User, events, task
from locust.runners import LocalRunner

from bench.load import jobs, sender
from runtime.broker import Broker, connect
from runtime.errors import HopbenchError, InputError

_IDLE_POLL_S = 0.02
_FAILED, _REFUSED = 1, 2
_JOB = "HOPBENCH_LOAD_JOB"
_FOLDER = "HOPBENCH_LOAD"
_precise_sleep = monkey.get_original("time", "sleep")


class ScheduleUser(User):
    """Sends each job of its folder, one after another; the schedule, not Locust, sets the pace."""

    # However many users the web page is asked for: a second one would send everything again.
    fixed_count = 1

    def on_start(self) -> None:
        """Say that this process is up: its imports are not to disturb what is measured."""
        self._brokers: dict[str, Broker] = {}
        single = os.environ.get(_JOB)
        self._single = Path(single) if single else None
        self._folder = self._single.parent if self._single else Path(os.environ[_FOLDER])
        (self._folder / "ready").touch()

    @task
    def next_job(self) -> None:
        """Wait for a job, send it, answer it."""
        if self._single is not None:
            self._send_single(self._single)
            return
        job = jobs.next_job(self._folder)
        if job is None:
            time.sleep(_IDLE_POLL_S)
        else:
            self._send(job)

    def _send_single(self, path: Path) -> None:
        """Send a job by hand and end the test: with it the program, where there is no web page."""
        try:
            job = jobs.read_job(path)
            if jobs.spool_path(self._folder, job.name).exists():
                raise InputError(
                    "this job was sent before",
                    where=str(path),
                    remedy="Remove its other files, or give it another name",
                )
            self._send(job)
        except (HopbenchError, OSError) as error:
            self.environment.process_exit_code = _FAILED
            _tell(error)
            self._end()
            raise
        self._end()

    def _end(self) -> None:
        """End the test. This user is a part of it, and is not waited for."""
        runner = self.environment.runner
        if self.environment.parsed_options.headless:
            runner.quit()
        else:
            runner.stop()

    def _send(self, job: jobs.Job) -> None:
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


def _tell(error: Exception) -> None:
    """Say what is wrong without Locust's log, whose level may hide it."""
    sys.stderr.write(f"hopbench: {error}\n")


@events.init_command_line_parser.add_listener
def _refuse_sharing(parser: Any, **_: Any) -> None:
    """Refuse Locust's own processes before it forks them.

    Forked ones, whose master has ended, look for it for minutes before they ask anybody.
    """
    options, _unknown = parser.parse_known_args()
    if options.processes or options.master or options.worker:
        _tell(_not_shared())
        sys.exit(_REFUSED)


def _not_shared() -> InputError:
    # Its workers know nothing of one another: each would send the whole schedule.
    return InputError(
        "a schedule is not shared by Locust's own --processes, --master and --worker",
        where="bench/load/locustfile.py",
        remedy="Give the scenario load.processes and use `python -m bench run`",
    )


@events.init.add_listener
def _check(environment: Any, runner: Any, **_: Any) -> None:
    """Refuse what cannot work before a web page is there that promises it."""
    try:
        if not isinstance(runner, LocalRunner):
            raise _not_shared()
        if single := os.environ.get(_JOB):
            jobs.read_job(Path(single))
        elif not os.environ.get(_FOLDER):
            raise InputError(
                "there is nothing to send",
                where="bench/load/locustfile.py",
                remedy=f"Set {_JOB} to the file of a job; docs/scenarios.md shows how one is made",
            )
    except InputError as error:
        _tell(error)
        sys.exit(_REFUSED)


@events.quitting.add_listener
def _close(environment: Any, **_: Any) -> None:
    """A refused message is in the spans; it must not turn Locust's own exit code red."""
    environment.process_exit_code = environment.process_exit_code or 0
