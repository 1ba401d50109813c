"""Reads run directories; the only module of ``reports`` that imports pyarrow.

What is read is checked: the format number, every key of ``run.json`` and ``trial.json`` that the
analysis uses, and the columns of the tables. A trial that cannot be read is left out and named;
what is sound is kept.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from reports.records import RunRecord, TrialRecord, parse_run, parse_trial
from runtime.errors import DataError, FormatError

FORMAT = 1
SPAN_COLUMNS = {
    "kind": pa.uint8(), "outcome": pa.uint8(), "step": pa.uint16(), "aux": pa.uint16(),
    "flags": pa.uint16(), "trace": pa.uint64(), "message": pa.uint64(), "parent": pa.uint64(),
    "t0_ns": pa.int64(), "t1_ns": pa.int64(), "t2_ns": pa.int64(), "t3_ns": pa.int64(),
}  # fmt: skip
RESOURCE_COLUMNS = {
    "instance": pa.int32(), "at_ns": pa.int64(), "cpu_ns": pa.int64(),
    "memory_bytes": pa.int64(), "throttled_ns": pa.int64(),
}  # fmt: skip
HANDLE_COLUMNS = {"descriptors": pa.int64(), "threads": pa.int64()}
OBSERVED_COLUMNS = {
    "trace": pa.uint64(), "message": pa.uint64(), "at_ns": pa.int64(),
    "field": pa.string(), "value": pa.string(),
}  # fmt: skip
UNREAD = -1
"""Descriptors and threads that were not read."""
STATUSES = ("valid", "invalid", "failed")


@dataclass(frozen=True, slots=True)
class SpanTable:
    """The span records of one trial, a column each; see ``runtime/spans.py`` for their meaning."""

    kind: npt.NDArray[np.uint8]
    outcome: npt.NDArray[np.uint8]
    step: npt.NDArray[np.uint16]
    aux: npt.NDArray[np.uint16]
    flags: npt.NDArray[np.uint16]
    trace: npt.NDArray[np.uint64]
    message: npt.NDArray[np.uint64]
    parent: npt.NDArray[np.uint64]
    t0_ns: npt.NDArray[np.int64]
    t1_ns: npt.NDArray[np.int64]
    t2_ns: npt.NDArray[np.int64]
    t3_ns: npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class ResourceTable:
    """The resource samples of one trial; ``cpu_ns`` and ``throttled_ns`` are cumulative.

    ``descriptors`` and ``threads`` are UNREAD where they are not known.
    """

    instance: npt.NDArray[np.int32]
    at_ns: npt.NDArray[np.int64]
    cpu_ns: npt.NDArray[np.int64]
    memory_bytes: npt.NDArray[np.int64]
    throttled_ns: npt.NDArray[np.int64]
    descriptors: npt.NDArray[np.int64]
    threads: npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class ObservedTable:
    """What the messages of a trial said: one row a message and field, see docs/formats.md."""

    trace: npt.NDArray[np.uint64]
    message: npt.NDArray[np.uint64]
    at_ns: npt.NDArray[np.int64]
    field: tuple[str, ...]
    value: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TrialData:
    """One trial as it was stored."""

    record: TrialRecord
    spans: SpanTable
    resources: ResourceTable
    observed: ObservedTable | None = None


@dataclass(frozen=True, slots=True)
class Damage:
    """A part of a run that is there no more, or not as it was written; ``file`` names it.

    ``scenario`` is None where the damage is to the run as a whole.
    """

    file: str
    scenario: str | None
    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.file}: {self.what}. {self.remedy}"


@dataclass(frozen=True, slots=True)
class RunData:
    """A run directory in memory.

    ``problems`` says what of it was cut off when the run ended, ``damaged`` what was complete and
    cannot be used any more.
    """

    path: Path
    record: RunRecord
    trials: tuple[TrialData, ...]
    problems: tuple[str, ...]
    damaged: tuple[Damage, ...]


def read_one(path: Path, index: int) -> tuple[RunRecord, TrialData]:
    """One trial of a run that may still be going on. Raises FormatError as ``read_run`` does."""
    record = parse_run(_read_json(path / "run.json"), file=str(path / "run.json"))
    for entry in record.trials:
        if entry.index == index:
            return record, _read_trial(path / entry.path)
    raise FormatError(f"lists no trial {index}", where=str(path / "run.json"))


def read_run(path: Path) -> RunData:
    """Read a run directory.

    Raises FormatError, naming the file, when ``run.json`` is missing, damaged or of a newer format,
    and DataError when no trial can be read. A trial that cannot be read is left out: as damaged
    where ``run.json`` lists it, as cut off where the run ended while it was being written.
    """
    record = parse_run(_read_json(path / "run.json"), file=str(path / "run.json"))
    problems: list[str] = []
    damaged: list[Damage] = []
    trials: list[TrialData] = []
    for entry in record.trials:
        try:
            trials.append(_read_trial(path / entry.path))
        except FormatError as error:
            damaged.append(Damage(error.where, entry.scenario, error.what, error.remedy))
    for folder in _unlisted(path, [entry.path for entry in record.trials]):
        try:
            trials.append(_read_trial(path / folder))
        except FormatError as error:
            problems.append(f"{folder} was left out: {error.what} ({Path(error.where).name})")
    if not trials:
        raise DataError(
            f"nothing was measured: the run has no readable trial (its status: {record.status})"
            + "".join(f"; {one.file}: {one.what}" for one in damaged[:1]),
            where=str(path),
            remedy=record.error or (damaged[0].remedy if damaged else "Run it again"),
        )
    if record.status == "complete" and len(record.trials) < record.planned_trials:
        missing = record.planned_trials - len(record.trials)
        damaged.append(
            Damage(
                str(path / "run.json"),
                None,
                f"says that the run is complete, and lists {len(record.trials)} of "
                f"{record.planned_trials} planned trials: {missing} are missing",
                "Measure again, or restore the run directory from a copy",
            )
        )
    trials.sort(key=lambda trial: trial.record.index)
    return RunData(path, record, tuple(trials), tuple(problems), tuple(damaged))


def _unlisted(path: Path, listed: list[str]) -> list[str]:
    """Trials that were stored but not yet entered in ``run.json`` when the run was killed."""
    found = sorted(f"trials/{p.name}" for p in path.glob("trials/*") if p.is_dir())
    return [folder for folder in found if folder not in listed]


def _read_trial(folder: Path) -> TrialData:
    """Read one trial. Only a failed trial may lack its tables."""
    file = folder / "trial.json"
    record = parse_trial(_read_json(file), file=str(file))
    if record.status not in STATUSES:
        raise _damaged(file, f"its status is {record.status!r}, which is none of {STATUSES}")
    optional = record.status == "failed"
    spans = _read_table(folder / "spans.parquet", SPAN_COLUMNS, optional=optional)
    resources = _read_table(folder / "resources.parquet", RESOURCE_COLUMNS, optional=optional)
    handles = _handles(folder / "resources.parquet", resources["at_ns"].size)
    observed = folder / "observed.parquet"
    return TrialData(
        record,
        SpanTable(**spans),
        ResourceTable(**resources, **handles),
        _observed(observed) if observed.exists() else None,
    )


def _handles(file: Path, rows: int) -> dict[str, npt.NDArray[Any]]:
    """Descriptors and threads, which older runs do not have."""
    if file.exists():
        with pq.ParquetFile(file) as stored:
            if set(HANDLE_COLUMNS) <= set(stored.schema_arrow.names):
                return _read_table(file, HANDLE_COLUMNS, optional=False)
    return {name: np.full(rows, UNREAD, dtype=np.int64) for name in HANDLE_COLUMNS}


def _observed(file: Path) -> ObservedTable:
    numbers = {n: kind for n, kind in OBSERVED_COLUMNS.items() if kind != pa.string()}
    texts = {}
    try:
        with pq.ParquetFile(file, page_checksum_verification=True) as stored:
            table = stored.read(columns=["field", "value"])
        for name in ("field", "value"):
            texts[name] = tuple(str(one) for one in table.column(name).to_pylist())
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        raise _damaged(file, str(error)) from error
    read = _read_table(file, numbers, optional=False)
    return ObservedTable(
        read["trace"], read["message"], read["at_ns"], texts["field"], texts["value"]
    )


def _read_json(file: Path) -> Any:
    """Content of a JSON file whose ``format``, where it has one, this version knows."""
    try:
        content = json.loads(file.read_bytes(), parse_constant=_no_number)
    except FileNotFoundError:
        raise FormatError(
            "missing", where=str(file), remedy="Give the folder of a run, as bench run printed it"
        ) from None
    except OSError as error:
        raise FormatError(f"cannot be read: {error.strerror}", where=str(file)) from error
    except ValueError as error:
        raise _damaged(file, f"not JSON ({error})") from error
    version = content.get("format", FORMAT) if isinstance(content, dict) else FORMAT
    if isinstance(version, int) and version > FORMAT:
        raise FormatError(
            f"has format {version}, which is newer than {FORMAT}, the newest this version reads",
            where=str(file),
            remedy="Use the version of hopbench that wrote it, or a later one",
        )
    if version != FORMAT:
        raise _damaged(file, f"its format is {version!r}")
    return content


def _no_number(text: str) -> float:
    raise ValueError(f"it says {text}, which JSON does not have")


def _read_table(
    file: Path, columns: dict[str, pa.DataType], *, optional: bool
) -> dict[str, npt.NDArray[Any]]:
    """The named columns of a Parquet file as arrays that share its memory."""
    if optional and not file.exists():
        return {name: np.empty(0, dtype=str(kind)) for name, kind in columns.items()}
    try:
        with pq.ParquetFile(file, page_checksum_verification=True) as stored:
            table = stored.read(columns=list(columns))
        missing = set(columns) - set(table.column_names)
        if missing:
            raise _damaged(file, f"column {', '.join(sorted(missing))} is missing")
        return {name: _array(table.column(name), kind) for name, kind in columns.items()}
    except FileNotFoundError:
        raise FormatError(
            "missing", where=str(file), remedy="Measure again, or restore the file from a copy"
        ) from None
    except (OSError, ValueError, pa.ArrowException) as error:
        raise _damaged(file, str(error)) from error


def _array(column: pa.ChunkedArray, kind: pa.DataType) -> npt.NDArray[Any]:
    if column.null_count:
        raise ValueError(f"column has {column.null_count} empty values")
    # pyarrow's own to_numpy would import pandas: half a second that nothing here needs.
    array: npt.NDArray[Any] = np.from_dlpack(column.cast(kind).combine_chunks())
    return array


def _damaged(file: Path, what: str) -> FormatError:
    return FormatError(
        f"damaged: {what}",
        where=str(file),
        remedy="Measure again, or restore the file from a copy",
    )
