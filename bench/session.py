"""A run: scenarios in, trials in seeded random order, a run directory out."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

from bench import environment, floor
from bench.agenda import Agenda
from bench.campaign import Campaigns
from bench.choice import Choice
from bench.machine import look_at_engine
from bench.outcome import Outcome, Plan
from bench.request import Request, head, now
from bench.rundir import RunWriter
from bench.stage import Stage, open_stage, revisions
from bench.trial import Prepared, prepare_images, run_trial
from runtime.errors import HopbenchError, MeasurementError

FLOOR_RATE_HZ = 50.0
FLOOR_BODY_BYTES = 1024
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class Progress:
    """Where progress is shown: ``phase`` a text, ``step`` trials done of all."""

    phase: Callable[[str], None]
    step: Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Result:
    """How a run ended.

    ``problems``: a line for each trial that failed or is invalid. ``notes``: a line for each trial
    whose load generator was late, where its cell has valid ones, and for what was not removed.
    ``precision``: as in run.json, where one was asked for.
    """

    folder: Path
    status: str
    problems: tuple[str, ...]
    notes: tuple[str, ...]
    precision: Mapping[str, Any] | None = None


class _Ledger:
    """Saves trials as they come, and knows what is wrong with each."""

    def __init__(self, writer: RunWriter) -> None:
        self._writer = writer
        self._problems: list[str] = []
        self._late: list[tuple[str, str]] = []
        self._valid: set[str] = set()
        self.troubles: list[str] = []

    def keep(self, outcome: Outcome, plan: Plan, label: str) -> None:
        """Save a trial. Raises MeasurementError when no further trial could run."""
        self._writer.trial(outcome)
        document = outcome.document
        line = f"trial {plan.index} ({label}) is {document['status']}"
        line += f": {'; '.join(document['reasons'])}"
        if document["status"] == "valid":
            self._valid.add(label)
        elif outcome.only_late:
            self._late.append((label, line))
            if plan.phase is not None or plan.probe_hz is not None:
                # A phase is not made again; a rate that cannot be sent here is what a search shows.
                self._valid.add(label)
        else:
            self._problems.append(line)
        if "fatal" in document:
            raise MeasurementError(
                f"the run cannot go on after trial {plan.index}: {document['fatal']}",
                where=label,
                remedy="The trials saved until now are kept and can be reported",
            )

    def result(self, folder: Path, status: str, members: Mapping[str, Any]) -> Result:
        """What the run came to."""
        notes = tuple(line for label, line in self._late if label in self._valid)
        alone = tuple(line for label, line in self._late if label not in self._valid)
        return Result(
            folder,
            status,
            (*self._problems, *alone),
            (*notes, *self.troubles),
            members.get("precision"),
        )


def run(request: Request, progress: Progress) -> Result:
    """Measure everything that is asked for; what was measured is kept whatever happens.

    Ctrl-C and SIGTERM end the run in order: status ``interrupted``. Raises HopbenchError when the
    run could not be carried through; the directory then says ``failed`` and why.
    """
    agenda = request.agenda()
    run_id = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"
    for scenario in request.scenarios:
        # A broken component is found before anything is written or started.
        revisions(scenario, request.components_root)
    writer = RunWriter(request.out, head(request, run_id, agenda))
    if request.certificate is not None:
        writer.certificate(request.certificate)
    work = request.out / "work"
    ledger = _Ledger(writer)
    try:
        try:
            work.mkdir()
            with _orderly_signals(progress.phase):
                _measure(request, agenda, run_id, work, writer, progress, ledger)
        finally:
            # First of all: where the disk is full, this makes room to say so in run.json.
            shutil.rmtree(work, ignore_errors=True)
    except KeyboardInterrupt:
        last = agenda.members()
        writer.update(status="interrupted", finished=now(), error="interrupted by the user", **last)
        return ledger.result(request.out, "interrupted", last)
    except HopbenchError as error:
        writer.update(status="failed", finished=now(), error=str(error))
        for trouble in ledger.troubles:
            error.add_note(trouble)
        raise
    except OSError as error:
        converted = MeasurementError(
            f"the run ended on {type(error).__name__}: {error}",
            where=str(error.filename or request.out),
            remedy="Is the disk full? The trials saved until now are kept and can be reported",
        )
        with contextlib.suppress(HopbenchError):
            # When the disk is full this write fails too; the error that is raised says so.
            writer.update(status="failed", finished=now(), error=str(converted))
        raise converted from error
    except Exception as error:
        # A defect of ours: the run directory says so before the traceback does.
        writer.update(status="failed", finished=now(), error=f"{type(error).__name__}: {error}")
        raise
    # Once more, for the time that the end of the run took.
    last = agenda.members()
    writer.update(status="complete", finished=now(), **last)
    return ledger.result(request.out, "complete", last)


def _measure(
    request: Request,
    agenda: Agenda,
    run_id: str,
    work: Path,
    writer: RunWriter,
    progress: Progress,
    ledger: _Ledger,
) -> None:
    progress.phase("preparing images")
    with open_stage(
        run_id=run_id,
        choice=request.choice,
        folder=work,
        components_root=request.components_root,
        generators=max(scenario.load.processes for scenario in request.scenarios),
        say=progress.phase,
        trouble=ledger.troubles.append,
    ) as stage:
        writer.update(
            environment=environment.describe(
                engine=_engine_version(request.choice), broker_version=stage.place.version
            ),
            isolates=stage.launcher.isolates,
        )
        progress.phase("preparing components")
        images = prepare_images(stage, request.scenarios)
        progress.phase("floor before")
        began_s = time.monotonic()
        writer.floor("before", _floor(stage, request.seed, request.floor_messages))
        agenda.reserve(time.monotonic() - began_s)
        if request.direct is not None:
            request.direct(stage)
        with contextlib.closing(Campaigns(stage)) as campaigns:
            _trials(stage, agenda, images, campaigns, writer, progress, ledger)
        progress.phase("floor after")
        writer.floor("after", _floor(stage, request.seed + 1, request.floor_messages))


def _trials(
    stage: Stage,
    agenda: Agenda,
    images: Prepared,
    campaigns: Campaigns,
    writer: RunWriter,
    progress: Progress,
    ledger: _Ledger,
) -> None:
    """Make every trial of the agenda; each is saved before the next one is chosen."""
    done = 0
    while (plan := agenda.following()) is not None:
        progress.step(done, agenda.planned)
        label = plan.label
        began_s = time.monotonic()
        outcome = run_trial(
            stage,
            plan,
            images,
            say=lambda text, label=label: progress.phase(f"{label}: {text}"),  # type: ignore[misc]
            campaign=campaigns.of(plan),
        )
        campaigns.done(plan)
        ledger.keep(outcome, plan, label)
        done += 1
        agenda.took(plan, outcome, time.monotonic() - began_s)
        writer.update(**agenda.members())
    progress.step(done, done)
    writer.update(**agenda.members())


def _floor(stage: Stage, seed: int, messages: int) -> dict[str, Any]:
    machine = floor.measure_machine()
    samples = stage.floor.batch(messages, FLOOR_RATE_HZ, FLOOR_BODY_BYTES, seed)
    return floor.record(
        machine,
        samples,
        placement="container" if stage.launcher.isolates else "process",
        body_bytes=FLOOR_BODY_BYTES,
        rate_hz=FLOOR_RATE_HZ,
    )


def _engine_version(choice: Choice) -> str | None:
    if choice.launcher != "docker":
        return None
    return look_at_engine().version


@contextlib.contextmanager
def _orderly_signals(say: Callable[[str], None]) -> Iterator[None]:
    """Let Ctrl-C, SIGTERM and SIGHUP end a run in order; once is enough, more change nothing."""

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        for one in before:
            signal.signal(one, signal.SIG_IGN)
        say("interrupted: removing what was started")
        raise KeyboardInterrupt

    before = {one: signal.getsignal(one) for one in _SIGNALS}
    for one in _SIGNALS:
        signal.signal(one, interrupt)
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def default_out() -> Path:
    """A new folder under ``runs/``, named by the time (UTC)."""
    return Path("runs") / f"{datetime.now(UTC):%Y%m%d-%H%M%S}"


def new_seed() -> int:
    """A seed for a run that was given none; recorded like any other."""
    return int(time.time_ns() // 1000 % sys.maxsize) % 2**31
