"""Reads and writes ``certificate.json``, and says for what run a certificate does not speak.

A certificate is kept apart from the run that it was made from, so it is checked whole: types of all
that is shown, and that its verdict is that of its checks.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reports.certificate import FORMAT, KIND, MACHINE
from reports.records import parse
from reports.shown import Json, Shown, all_of
from runtime.errors import DataError, FormatError

FILE = "certificate.json"
REQUIRED = (
    "component-delays", "network-delays", "freeze", "a-against-a", "probe-overhead", "clocks",
    "conservation",
)  # fmt: skip
"""Checks without which no certificate is valid."""
_REMEDY = "Make one with `python -m bench certify`, and give its folder or its certificate.json"
SAME_AS_RUN = {
    "launcher": "launcher",
    "broker": "broker",
    "broker_version": "broker version",
    "broker_placement": "broker placement",
    "hopbench": "hopbench version",
    "commit": "hopbench commit",
}
"""Members of a certificate that must be those of the run it speaks for, and their names."""


@dataclass(frozen=True, slots=True)
class FigureRecord:
    """A figure with its interval, where it has one."""

    value: float
    low: float | None
    high: float | None
    unit: str
    starts: int
    messages: int


@dataclass(frozen=True, slots=True)
class RecoveredRow:
    """A delay that was injected, and what was found of it."""

    label: str
    delay_ms: float
    expected_ms: float
    bound_ms: float
    recovered: FigureRecord | None
    error: FigureRecord | None
    recovered_mean: FigureRecord | None
    verdict: str


@dataclass(frozen=True, slots=True)
class FrozenRow:
    """The p90 of a loop whose consumer stood still, from both sends."""

    loop: str
    corrected: FigureRecord | None
    uncorrected: FigureRecord | None
    predicted_ms: float | None
    frozen_s: float | None
    verdict: str
    reason: str


@dataclass(frozen=True, slots=True)
class FigureRow:
    """A figure, and the limit it is held to, if any."""

    label: str
    figure: FigureRecord
    limit: float | None


@dataclass(frozen=True, slots=True)
class OffsetRow:
    """Bounds of the offset of two clocks."""

    label: str
    low_us: float | None
    high_us: float | None
    bound_us: float | None
    rounds: int
    verdict: str


@dataclass(frozen=True, slots=True)
class CheckRecord:
    """One check."""

    id: str
    title: str
    verdict: str
    reason: str
    rows: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True)
class CertificateRecord:
    """A certificate: of what, from where, and its checks."""

    format: int
    kind: str
    verdict: str
    valid: bool
    run_id: str
    created: str
    quick: bool
    hopbench: str | None
    commit: str | None
    machine: Mapping[str, Any]
    launcher: str
    isolates: bool
    broker: str
    broker_version: str | None
    broker_placement: str | None
    checks: tuple[CheckRecord, ...]
    doubts: tuple[str, ...]


ROWS: Mapping[str, type] = {
    "component-delays": RecoveredRow,
    "network-delays": RecoveredRow,
    "freeze": FrozenRow,
    "a-against-a": FigureRow,
    "probe-overhead": FigureRow,
    "clocks": OffsetRow,
}
"""What the rows of a check are; those of other checks are not shown."""


def read_certificate(path: Path) -> Json:
    """Read a certificate: the file, or ``certificate.json`` of a folder.

    Raises DataError when it is not there, FormatError when it is damaged, of a newer format, or
    when its verdict is not that of its checks.
    """
    file = path / FILE if path.is_dir() else path
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(
            f"there is no certificate to read: {error.strerror}", where=str(file), remedy=_REMEDY
        ) from error
    except ValueError as error:
        raise FormatError(f"damaged: {error}", where=str(file), remedy=_REMEDY) from error
    if not isinstance(content, dict) or content.get("kind") != KIND:
        raise FormatError("this is no certificate of a meter", where=str(file), remedy=_REMEDY)
    if content.get("format") != FORMAT:
        raise FormatError(
            f"it has format {content.get('format')!r}; this version reads {FORMAT}",
            where=str(file), remedy="Use the version of hopbench that wrote it, or certify again",
        )  # fmt: skip
    record = parse(CertificateRecord, content, file=str(file))
    for check in record.checks:
        for row in check.rows if check.id in ROWS else ():
            parse(ROWS[check.id], row, file=f"{file}, {check.id}")
    _check_verdict(record, str(file))
    return content


def write_certificate(document: Mapping[str, Any], out: Path) -> None:
    """Write a certificate to the file ``out``. Raises DataError when it cannot be written."""
    partial = out.with_name(f"{out.name}.partial")
    try:
        partial.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        os.replace(partial, out)
    except OSError as error:
        raise DataError(
            f"the certificate could not be written: {error.strerror}", where=str(out),
            remedy="Free some disk space, or give --out a folder that can be written to",
        ) from error  # fmt: skip


def speaks_for(document: Mapping[str, Any], run_id: str, environment: Mapping[str, Any]) -> Json:
    """The ``certificate`` member of ``results.json``: the document, and what speaks against it.

    ``flags`` are lines: what is not shown, and in what the run is not of the certificate's kind.
    ``environment`` is that of the run's results.
    """
    flags = []
    if not document["valid"]:
        flags.append(f"the certificate is not valid: its verdict is {document['verdict']}")
    if document["quick"]:
        flags.append("it was made with --quick: of fewer messages, and a shorter freeze")
    if document["run_id"] == run_id:
        return {"document": document, "flags": flags, "own": True}
    for name in MACHINE:
        theirs, ours = document["machine"].get(name), environment.get(name)
        if theirs != ours:
            flags.append(f"made on another machine: {name} {_or(theirs)}, here {_or(ours)}")
    for name, words in SAME_AS_RUN.items():
        theirs, ours = document.get(name), environment.get(name)
        if theirs != ours:
            flags.append(f"made with another {words}: {_or(theirs)}, here {_or(ours)}")
    return {"document": document, "flags": flags, "own": False}


def _check_verdict(record: CertificateRecord, file: str) -> None:
    known = {str(verdict) for verdict in Shown}
    verdicts = [check.verdict for check in record.checks]
    wrong = [verdict for verdict in (record.verdict, *verdicts) if verdict not in known]
    if wrong:
        raise FormatError(f"damaged: there is no verdict {wrong[0]!r}", where=file, remedy=_REMEDY)
    missing = set(REQUIRED) - {check.id for check in record.checks}
    found = all_of([Shown(verdict) for verdict in verdicts])
    sound = found is Shown.SHOWN and not missing and not record.doubts
    if record.valid != (record.verdict == Shown.SHOWN) or (record.valid and not sound):
        raise FormatError(
            f"it contradicts itself: said to be {record.verdict}, and its checks say {found}"
            + (f", without {', '.join(sorted(missing))}" if missing else ""),
            where=file,
            remedy=_REMEDY,
        )


def _or(value: object) -> str:
    return "not recorded" if value is None else str(value)
