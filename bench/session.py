"""A run: scenarios in, trials in seeded random order, a run directory out."""

from __future__ import annotations

import contextlib
import random
import secrets
import shutil
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

from bench import environment, floor
from bench.choice import Choice
from bench.machine import look_at_engine
from bench.outcome import Outcome, Plan
from bench.rundir import RunWriter
from bench.stage import Stage, open_stage, revisions
from bench.trial import prepare_images, run_trial
from runtime.clock import clock_id
from runtime.errors import HopbenchError, MeasurementError
from runtime.model import FlowType
from scenarios.faults import fault_document
from scenarios.model import Claim, Scenario

FLOOR_MESSAGES = 200
FLOOR_RATE_HZ = 50.0
FLOOR_BODY_BYTES = 1024
REPEATS_SHARE = 4
"""One trial in so many may be repeated where the load generator was late: a busy machine, not a
fault of the flow's. The late one is kept and shown; its figures are not used."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class Request:
    """What the user asked for, checked."""

    scenarios: tuple[Scenario, ...]
    claims: tuple[Claim, ...]
    choice: Choice
    profile: str
    seed: int
    out: Path
    argv: tuple[str, ...]
    components_root: Path
    floor_messages: int = FLOOR_MESSAGES


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
    """

    folder: Path
    status: str
    problems: tuple[str, ...]
    notes: tuple[str, ...]


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
        else:
            self._problems.append(line)
        if "fatal" in document:
            raise MeasurementError(
                f"the run cannot go on after trial {plan.index}: {document['fatal']}",
                where=label,
                remedy="The trials saved until now are kept and can be reported",
            )

    def result(self, folder: Path, status: str) -> Result:
        """What the run came to."""
        notes = tuple(line for label, line in self._late if label in self._valid)
        alone = tuple(line for label, line in self._late if label not in self._valid)
        return Result(folder, status, (*self._problems, *alone), (*notes, *self.troubles))


def plan_trials(request: Request) -> tuple[Plan, ...]:
    """All trials of a run, in random order from its seed."""
    drawn = random.Random(request.seed)
    cells = [
        (scenario, containers)
        for scenario in request.scenarios
        for containers in scenario.start_cells()
        for _ in range(scenario.profiles[request.profile].starts)
    ]
    drawn.shuffle(cells)
    return tuple(
        Plan(
            index=index,
            scenario=scenario,
            containers=containers,
            messages=scenario.profiles[request.profile].messages,
            seed=drawn.getrandbits(31),
        )
        for index, (scenario, containers) in enumerate(cells, start=1)
    )


def run(request: Request, progress: Progress) -> Result:
    """Measure everything that is asked for; what was measured is kept whatever happens.

    Ctrl-C and SIGTERM end the run in order: status ``interrupted``. Raises HopbenchError when the
    run could not be carried through; the directory then says ``failed`` and why.
    """
    plans = plan_trials(request)
    run_id = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"
    for scenario in request.scenarios:
        # A broken component is found before anything is written or started.
        revisions(scenario, request.components_root)
    writer = RunWriter(request.out, _head(request, run_id, len(plans)))
    work = request.out / "work"
    ledger = _Ledger(writer)
    try:
        try:
            work.mkdir()
            with _orderly_signals(progress.phase):
                _measure(request, plans, run_id, work, writer, progress, ledger)
        finally:
            # First of all: where the disk is full, this makes room to say so in run.json.
            shutil.rmtree(work, ignore_errors=True)
    except KeyboardInterrupt:
        writer.update(status="interrupted", finished=_now(), error="interrupted by the user")
        return ledger.result(request.out, "interrupted")
    except HopbenchError as error:
        writer.update(status="failed", finished=_now(), error=str(error))
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
            writer.update(status="failed", finished=_now(), error=str(converted))
        raise converted from error
    except Exception as error:
        # A defect of ours: the run directory says so before the traceback does.
        writer.update(status="failed", finished=_now(), error=f"{type(error).__name__}: {error}")
        raise
    writer.update(status="complete", finished=_now())
    return ledger.result(request.out, "complete")


def _measure(
    request: Request,
    plans: Sequence[Plan],
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
        writer.floor("before", _floor(stage, request.seed, request.floor_messages))
        waiting = deque(plans)
        done, spare = 0, 1 + len(plans) // REPEATS_SHARE
        while waiting:
            plan = waiting.popleft()
            progress.step(done, done + 1 + len(waiting))
            label = plan.scenario.name
            if plan.containers is not None:
                label += f" ({plan.containers} containers)"
            outcome = run_trial(
                stage,
                plan,
                images,
                say=lambda text, label=label: progress.phase(f"{label}: {text}"),  # type: ignore[misc]
            )
            done += 1
            if outcome.only_late and spare and plan.repeats is None:
                spare -= 1
                index = 1 + done + len(waiting)
                waiting.append(replace(plan, index=index, repeats=plan.index))
            ledger.keep(outcome, plan, label)
        progress.step(done, done)
        progress.phase("floor after")
        writer.floor("after", _floor(stage, request.seed + 1, request.floor_messages))


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


def _head(request: Request, run_id: str, planned: int) -> dict[str, Any]:
    choice = request.choice
    return {
        "run_id": run_id,
        "created": _now(),
        "seed": request.seed,
        "profile": request.profile,
        "argv": list(request.argv),
        "launcher": choice.launcher,
        "launcher_reason": choice.launcher_reason,
        "isolates": choice.launcher == "docker",
        "broker": choice.broker,
        "broker_reason": choice.broker_reason,
        "broker_placement": choice.placement,
        "flow_types": [str(kind) for kind in FlowType],
        "clock_id": clock_id(),
        "environment": {},
        "broker_configuration": {"persistent": False, "confirms": True, "prefetch": 1},
        "scenarios": [_scenario(scenario, request.profile) for scenario in request.scenarios],
        "claims": [_claim(claim) for claim in request.claims],
        "planned_trials": planned,
    }


def _scenario(scenario: Scenario, profile: str) -> dict[str, Any]:
    load = scenario.load
    return {
        "name": scenario.name,
        "title": scenario.title,
        "flow_type": str(scenario.flow_type),
        "digest": scenario.flow().digest(),
        "steps": [
            {"id": step.id, "component": step.component, "function": step.function}
            for step in scenario.steps
        ],
        "load": {
            "arrivals": str(load.arrivals),
            "rate_hz": load.rate_hz,
            "messages": scenario.profiles[profile].messages,
            "payload_bytes": load.payload_bytes,
            "loop": str(load.loop),
            "processes": load.processes,
        },
        "faults": [fault_document(fault) for fault in scenario.faults],
        "message_cells": [asdict(cell) for cell in scenario.message_cells()],
        "start_cells": list(scenario.start_cells()),
        "starts": scenario.profiles[profile].starts,
    }


def _claim(claim: Claim) -> dict[str, Any]:
    return {
        "id": claim.id,
        "statement": claim.statement,
        "metric": claim.metric,
        "scenario": claim.scenario,
        "needs_containers": claim.needs_containers,
        "parameters": dict(claim.parameters),
        "target": asdict(claim.target) if claim.target is not None else None,
    }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


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
