"""The load generators of a run, as the session sees them: started, given a schedule, watched.

Several share one schedule: each sends its part of it, all from one instant, and each writes a spool
of its own. Nothing is added up before it is stored: what they did is read from the raw spans.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bench.load import jobs
from runtime.clock import now_ns
from runtime.errors import LaunchError, MeasurementError, StepExited
from runtime.launch import Instance, Launcher, Spec
from runtime.model import Limits
from scenarios.model import Loop, Scenario

GENERATOR = "the load generator"
ALONE = "load"
READY_S = 60.0
PREPARED_S = 30.0
STOP_S = 5.0
"""How long a stopped schedule may take to end; longer only where the broker does not confirm."""
_MEMORY_BYTES = 512 * 1024 * 1024
_LEAD_NS = 30_000_000
"""From the word to begin to the first message: generators look for it every 2 ms."""
_POLL_S = 0.01


@dataclass(frozen=True, slots=True)
class Generator:
    """One generator: a container or process, and the folder in which it is handed its jobs."""

    instance: Instance
    folder: Path

    @property
    def label(self) -> str:
        """What reasons and errors call it: by its name only where there are others."""
        name = self.instance.name
        return GENERATOR if name == ALONE else f"{GENERATOR} {name}"

    def raise_if_ended(self, while_what: str) -> None:
        """Raise StepExited when it has ended."""
        ended = self.instance.wait(0.0)
        if ended is not None:
            raise StepExited(
                f"ended with exit code {ended.code} {while_what}: {self.instance.logs(last=5)}",
                where=self.label,
                remedy="Rebuild the images (nox -s images)",
            )


def open_generators(
    launcher: Launcher, folder: Path, count: int, stack: Callable[[Instance], object]
) -> tuple[Generator, ...]:
    """Start ``count`` generators at once and wait until all are up.

    ``stack`` is told of each one that has to be stopped. Raises LaunchError, and MeasurementError
    when one is not up in time.
    """
    generators = []
    for number in range(1, count + 1):
        name = ALONE if count == 1 else f"load-{number}"
        place = folder / name
        place.mkdir(parents=True)
        instance = launcher.start(
            Spec(
                name=name,
                role="load",
                image=launcher.load_image(),
                env={"HOPBENCH_LOAD": launcher.inside(place)},
                limits=Limits(memory_bytes=_MEMORY_BYTES),
                spool=place,
            )
        )
        stack(instance)
        generators.append(Generator(instance, place))
    deadline = time.monotonic() + READY_S
    for generator in generators:
        while not (generator.folder / "ready").exists():
            generator.raise_if_ended("before it was ready")
            if time.monotonic() > deadline:
                raise MeasurementError(
                    f"not ready after {READY_S:g} s; it last said: {generator.instance.logs()}",
                    where=generator.label,
                )
            time.sleep(_POLL_S)
    return tuple(generators)


def shared(scenario: Scenario, processes: int) -> Scenario:
    """The scenario with its schedule shared by so many generators; a closed loop keeps its one."""
    if scenario.load.loop is Loop.CLOSED:
        return scenario
    return replace(scenario, load=replace(scenario.load, processes=processes))


def ended_generator(generators: Sequence[Generator]) -> str | None:
    """What says of a generator that it has ended; None while all run."""
    for generator in generators:
        ended = generator.instance.wait(0.0)
        if ended is not None:
            return f"{generator.label} ended with exit code {ended.code}"
    return None


@dataclass(frozen=True, slots=True)
class Sent:
    """What one generator has left of a schedule. ``answer`` is None when it did not come to it."""

    label: str
    spool: Path
    answer: jobs.Answer | None


class Sending:
    """One schedule in the hands of some generators."""

    def __init__(self, generators: Sequence[Generator], job: jobs.Job) -> None:
        self._generators = tuple(generators)
        self._job = job
        self._answers: list[jobs.Answer | None] = [None] * len(self._generators)
        self._began_ns = now_ns()
        self._progress = (0, self._began_ns)
        self._closed = False

    def begin(self, follow: Sequence[Path] = ()) -> None:
        """Hand it out and, where several share it, let all of them begin at one instant.

        ``follow``: spools of the flow's steps, for a closed loop. Raises MeasurementError or
        LaunchError when one does not come to begin.
        """
        parts = len(self._generators)
        self._began_ns = now_ns()
        self._progress = (0, self._began_ns)
        self._closed = bool(follow)
        for part, generator in enumerate(self._generators):
            links = tuple(
                _link(spool, generator.folder / f"{self._job.name}.step-{index}")
                for index, spool in enumerate(follow)
            )
            jobs.submit(generator.folder, self._job._replace(part=part, parts=parts, follow=links))
        if parts == 1:
            return
        deadline = time.monotonic() + PREPARED_S
        for generator in self._generators:
            while not jobs.is_prepared(generator.folder, self._job.name):
                generator.raise_if_ended("before the load began")
                # One that has failed says why.
                jobs.outcome(generator.folder, self._job.name)
                if time.monotonic() > deadline:
                    raise MeasurementError(
                        f"not prepared after {PREPARED_S:g} s",
                        where=generator.label,
                        remedy="Does the broker take connections?",
                    )
                time.sleep(_POLL_S)
        start_ns = now_ns() + _LEAD_NS
        for generator in self._generators:
            jobs.go(generator.folder, self._job.name, start_ns)

    @property
    def sent(self) -> tuple[Sent, ...]:
        """What each generator has left until now."""
        return tuple(
            Sent(one.label, jobs.spool_path(one.folder, self._job.name), answer)
            for one, answer in zip(self._generators, self._answers, strict=True)
        )

    @property
    def instances(self) -> tuple[Instance, ...]:
        """The generators' containers or processes."""
        return tuple(one.instance for one in self._generators)

    @property
    def end_ns(self) -> int | None:
        """When the last generator had sent and settled its part; None before."""
        ends = [answer.end_ns for answer in self._answers if answer is not None]
        return max(ends) if len(ends) == len(self._answers) else None

    def look(self, longest_s: float) -> bool:
        """Whether all have answered.

        Raises StepExited when one ended, MeasurementError when one failed or has not sent its part
        ``longest_s`` after the beginning or, in a closed loop, after its last message.
        """
        for index, generator in enumerate(self._generators):
            if self._answers[index] is None:
                generator.raise_if_ended("before it had sent its schedule")
                self._answers[index] = jobs.outcome(generator.folder, self._job.name)
        waiting = [
            generator.label
            for generator, answer in zip(self._generators, self._answers, strict=True)
            if answer is None
        ]
        if not waiting:
            return True
        waited_s = (now_ns() - self._since_ns()) / 1e9
        if waited_s > longest_s:
            raise MeasurementError(
                f"has not sent its schedule after {waited_s:.0f} s",
                where=", ".join(waiting),
                remedy="Is the broker paused, or out of memory or disk?",
            )
        return False

    def stop(self) -> None:
        """End a schedule that nobody takes any more: it must not run into the next trial's."""
        name = self._job.name
        waiting = [
            generator
            for generator, answer in zip(self._generators, self._answers, strict=True)
            if answer is None
        ]
        for generator in waiting:
            jobs.stop(generator.folder, name)
        deadline = time.monotonic() + STOP_S
        for generator in waiting:
            while not jobs.has_ended(generator.folder, name) and time.monotonic() < deadline:
                if generator.instance.wait(0.0) is not None:
                    break
                time.sleep(_POLL_S)
            with contextlib.suppress(MeasurementError):
                # What it failed of is told already: it is why the trial ends.
                self._answers[self._generators.index(generator)] = jobs.outcome(
                    generator.folder, name
                )

    def _since_ns(self) -> int:
        """The instant from which we wait: in a closed loop, when the last message was recorded."""
        if not self._closed:
            return self._began_ns
        written = sum(one.spool.stat().st_size for one in self.sent if one.spool.exists())
        if written != self._progress[0]:
            self._progress = (written, now_ns())
        return self._progress[1]


def _link(spool: Path, place: Path) -> str:
    """Let a generator see a step's spool: one file under two names, since it sees its folder only.

    Returns the name inside its folder. Raises LaunchError where the file system has no links.
    """
    try:
        os.link(spool, place)
    except OSError as error:
        raise LaunchError(
            f"the generator cannot be shown a step's spool: {error.strerror}",
            where=str(spool),
            remedy="A closed loop needs a run directory on a file system with hard links",
        ) from error
    return place.name
