"""What a load generator is asked to do, and what it answers: small JSON files in its folder.

The session writes ``NAME.job.json``; the generator appends spans to ``NAME.spool`` and answers with
``NAME.done.json`` or, where it could not go on, ``NAME.failed.json``. Where several share a job,
each says ``NAME.prepared`` when it could begin at once, and begins at the instant in
``NAME.go.json``. A job whose trial has ended is stopped by ``NAME.stop``. Files appear whole: they
are written beside and renamed.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, NamedTuple

from runtime.errors import InputError, MeasurementError


class Cell(NamedTuple):
    """What distinguishes messages of one start: payload size, and the delays asked for."""

    payload_bytes: int
    api_delay_ms: float | None
    delayed_step: str | None = None
    injected_delay_ms: float | None = None
    network_delay_ms: float | None = None

    @property
    def delay_ms(self) -> float:
        """How much longer an execution of this cell takes than one without any delay.

        The network's is met twice: on the way into its step, and on the way out.
        """
        own = (self.api_delay_ms or 0.0) + (self.injected_delay_ms or 0.0)
        return own + 2 * (self.network_delay_ms or 0.0)


class Job(NamedTuple):
    """One schedule to be sent. ``first_trace`` numbers the executions.

    Of a schedule that ``parts`` generators share, this one sends every message whose number is
    ``part`` modulo ``parts``. With ``follow`` the loop is closed: these are the spools of the
    flow's steps (files in the job's folder), and a message is sent only when they say that the
    execution before it has ended, for which the generator waits at most ``patience_s``.
    """

    name: str
    broker_url: str
    exchange: str
    key: str
    seed: int
    arrivals: str
    rate_hz: float
    messages_per_cell: int
    cells: tuple[Cell, ...]
    persistent: bool = False
    first_trace: int = 1
    part: int = 0
    parts: int = 1
    follow: tuple[str, ...] = ()
    patience_s: float = 30.0


class Answer(NamedTuple):
    """What the generator saw of itself. ``cpu_s`` is its own CPU time in the ``ran_s`` it sent."""

    sent: int
    start_ns: int
    end_ns: int
    cpu_s: float
    clock_id: str
    ran_s: float


def submit(folder: Path, job: Job) -> None:
    """Hand a job to the generator that watches ``folder``."""
    document = {**job._asdict(), "cells": [cell._asdict() for cell in job.cells]}
    _write(folder / f"{job.name}.job.json", document)


def next_job(folder: Path) -> Job | None:
    """The first job in ``folder`` that has no answer yet."""
    for path in sorted(folder.glob("*.job.json")):
        stem = path.name.removesuffix(".job.json")
        if has_ended(folder, stem):
            continue
        return read_job(path)
    return None


def read_job(path: Path) -> Job:
    """Read a job file. Raises InputError when it is not there, or is none."""
    remedy = "docs/scenarios.md shows how a job is made by hand"
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        document["cells"] = tuple(Cell(**cell) for cell in document["cells"])
        document["follow"] = tuple(document.get("follow", ()))
        return Job(**document)
    except OSError as error:
        raise InputError(
            f"the job cannot be read: {error.strerror}", where=str(path), remedy=remedy
        ) from error
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"this is no job: {error}", where=str(path), remedy=remedy) from error


def say_prepared(folder: Path, job: Job) -> None:
    """Say that the first message could go out at once."""
    (folder / f"{job.name}.prepared").touch()


def is_prepared(folder: Path, name: str) -> bool:
    """Whether a generator said so."""
    return (folder / f"{name}.prepared").exists()


def go(folder: Path, name: str, start_ns: int) -> None:
    """Let a schedule that is shared begin at this instant."""
    _write(folder / f"{name}.go.json", {"start_ns": start_ns})


def begins_ns(folder: Path, name: str) -> int | None:
    """The instant at which a schedule that is shared begins; None while nobody has said."""
    try:
        text = (folder / f"{name}.go.json").read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    return int(json.loads(text)["start_ns"])


def answer(folder: Path, job: Job, result: Answer) -> None:
    """Say that a job is done."""
    _write(folder / f"{job.name}.done.json", result._asdict())


def fail(folder: Path, job: Job, error: str) -> None:
    """Say that a job could not be done."""
    _write(folder / f"{job.name}.failed.json", {"error": error})


def stop(folder: Path, name: str) -> None:
    """Ask for a job to be ended before its schedule is sent; it is answered as usual."""
    (folder / f"{name}.stop").touch()


def is_stopped(folder: Path, name: str) -> bool:
    """Whether that was asked for."""
    return (folder / f"{name}.stop").exists()


def has_ended(folder: Path, name: str) -> bool:
    """Whether a job has an answer, of either kind."""
    return any((folder / f"{name}.{how}.json").exists() for how in ("done", "failed"))


def outcome(folder: Path, name: str) -> Answer | None:
    """The answer to a job, None while there is none. Raises MeasurementError when it failed."""
    done = folder / f"{name}.done.json"
    if done.exists():
        return Answer(**json.loads(done.read_text(encoding="utf-8")))
    failed = folder / f"{name}.failed.json"
    if failed.exists():
        error = json.loads(failed.read_text(encoding="utf-8"))["error"]
        raise MeasurementError(
            f"the load generator failed: {error}", where=f"{folder.name}, job {name}"
        )
    return None


def spool_path(folder: Path, name: str) -> Path:
    """Where the spans of a job are."""
    return folder / f"{name}.spool"


def _write(path: Path, document: dict[str, Any]) -> None:
    # Beside, then renamed: a reader never sees half a file.
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(document), encoding="utf-8")
    os.replace(temporary, path)
