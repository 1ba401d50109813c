"""Writes a run directory (docs/formats.md): what was saved once is not lost by what comes later."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from bench.outcome import Outcome
from runtime.errors import DataError, InputError

FORMAT = 1


class RunWriter:
    """A run directory while the run is made. Every write is atomic: beside, then renamed."""

    def __init__(self, folder: Path, head: Mapping[str, Any]) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            empty = not any(folder.iterdir())
            if empty:
                (folder / "trials").mkdir()
        except OSError as error:
            raise InputError(
                f"no run directory can be made here: {error.strerror or error}",
                where=str(folder),
                remedy="Give --out a new folder where you may write; nothing was started",
            ) from error
        if not empty:
            raise InputError(
                "the run directory is not empty",
                where=str(folder),
                remedy="Give --out a new folder; what was measured before is never overwritten",
            )
        self.folder = folder
        self._document: dict[str, Any] = {
            "format": FORMAT,
            "status": "running",
            "error": None,
            "finished": None,
            **head,
            "floor": {"before": None, "after": None},
            "trials": [],
        }
        self._save()

    def floor(self, when: str, floor: Mapping[str, Any]) -> None:
        """Keep the floor measured ``before`` or ``after`` the trials."""
        self._document["floor"][when] = floor
        self._save()

    def trial(self, outcome: Outcome) -> None:
        """Keep one trial; it is on disk when this returns."""
        document = outcome.document
        relative = f"trials/{document['index']:04d}"
        folder = self.folder / relative
        with _disk(folder):
            folder.mkdir()
            for name, table in (
                ("spans", outcome.spans),
                ("resources", outcome.resources),
                ("observed", outcome.observed),
            ):
                if table:
                    _write_table(folder / f"{name}.parquet", table)
            if outcome.logs:
                (folder / "logs").mkdir()
                for name, text in outcome.logs.items():
                    (folder / "logs" / f"{name}.log").write_text(text, encoding="utf-8")
            _write_json(folder / "trial.json", document)
        self._document["trials"].append(
            {
                "index": document["index"],
                "scenario": document["scenario"],
                "path": relative,
                "status": document["status"],
            }
        )
        self._save()

    def certificate(self, document: Mapping[str, Any]) -> None:
        """Keep the certificate of the meter that the run is made with."""
        with _disk(self.folder):
            _write_json(self.folder / "certificate.json", document)

    def update(self, **members: Any) -> None:
        """Replace members of run.json."""
        self._document.update(members)
        self._save()

    def _save(self) -> None:
        with _disk(self.folder):
            _write_json(self.folder / "run.json", self._document)


class _disk:  # noqa: N801  # reads as a statement: with _disk(path)
    """Turns a failed write into an error that says where and what to do."""

    def __init__(self, where: Path) -> None:
        self._where = where

    def __enter__(self) -> None:
        """Nothing to do."""

    def __exit__(self, _type: object, error: BaseException | None, _trace: object) -> None:
        """Convert an OSError."""
        if isinstance(error, OSError):
            raise DataError(
                f"cannot be written: {error.strerror or error}",
                where=str(error.filename or self._where),
                remedy="Free some disk space or give --out another place; "
                "the trials saved until now are kept and can be reported",
            ) from error


@contextlib.contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """A path to write to; then renamed to ``path``, or removed when the writing failed."""
    temporary = path.with_name(f"{path.name}.part")
    try:
        yield temporary
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _write_json(path: Path, document: Mapping[str, Any]) -> None:
    with _beside(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        json.dump(document, file, indent=1, allow_nan=False)
        file.flush()
        os.fsync(file.fileno())


def _write_table(path: Path, columns: Mapping[str, Any]) -> None:
    table = pa.table({name: pa.array(values) for name, values in columns.items()})
    # The reader verifies the checksums: a damaged page is found, not misread.
    with _beside(path) as temporary:
        parquet.write_table(table, temporary, compression="zstd", write_page_checksum=True)
