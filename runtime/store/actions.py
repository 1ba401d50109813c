"""The platform's own history: what was begun, and how it ended.

An action is written before it begins and after it has ended; one without an end was cut short.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from enum import StrEnum

from runtime.errors import InputError, StateError
from runtime.store.database import Database, storable
from runtime.store.instants import Now, written


class Outcome(StrEnum):
    """How an action ended."""

    DONE = "done"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    """The platform ended first; the next one on the store found it so."""


@dataclass(frozen=True, slots=True)
class ActionRecord:
    """One action. ``flow`` is None where it is about no flow, as a deploy is."""

    id: int
    flow: str | None
    operation: str
    detail: str
    begun_at: str
    ended_at: str | None
    outcome: Outcome | None
    error: str | None


class Actions:
    """The history of a store. Methods are safe from any thread."""

    def __init__(self, database: Database, now: Now) -> None:
        self._database = database
        self._now = now

    def begin(self, flow: str | None, operation: str, detail: str = "") -> int:
        """Write that an action begins; return its id."""
        with self._database.transaction() as connection:
            done = connection.execute(
                "INSERT INTO action (flow, operation, detail, begun_at) VALUES (?, ?, ?, ?)",
                (
                    None if flow is None else storable(flow),
                    storable(operation),
                    storable(detail),
                    written(self._now()),
                ),
            )
            assert done.lastrowid is not None
            return done.lastrowid

    def end(self, action: int, outcome: Outcome, error: str | None = None) -> ActionRecord:
        """Write how an action ended. Raises StateError when it has, InputError for no such one."""
        with self._database.transaction() as connection:
            row = connection.execute("SELECT * FROM action WHERE id = ?", (action,)).fetchone()
            if row is None:
                raise InputError(f"there is no action {action}")
            if row["ended_at"] is not None:
                raise StateError(f"action {action} ended already: {row['outcome']}")
            text = None if error is None else storable(error)
            connection.execute(
                "UPDATE action SET ended_at = ?, outcome = ?, error = ? WHERE id = ?",
                (written(self._now()), outcome, text, action),
            )
            row = connection.execute("SELECT * FROM action WHERE id = ?", (action,)).fetchone()
            return _record(row)

    def unfinished(self) -> tuple[ActionRecord, ...]:
        """Those that have not ended, oldest first."""
        rows = self._database.rows("SELECT * FROM action WHERE ended_at IS NULL ORDER BY id")
        return tuple(map(_record, rows))

    def history(self, flow: str | None = None, limit: int = 100) -> tuple[ActionRecord, ...]:
        """The newest actions, of one flow or of all, newest first."""
        if flow is None:
            rows = self._database.rows("SELECT * FROM action ORDER BY id DESC LIMIT ?", (limit,))
        else:
            rows = self._database.rows(
                "SELECT * FROM action WHERE flow = ? ORDER BY id DESC LIMIT ?",
                (storable(flow), limit),
            )
        return tuple(map(_record, rows))


def _record(row: sqlite3.Row) -> ActionRecord:
    return ActionRecord(
        id=row["id"],
        flow=row["flow"],
        operation=row["operation"],
        detail=row["detail"],
        begun_at=row["begun_at"],
        ended_at=row["ended_at"],
        outcome=None if row["outcome"] is None else Outcome(row["outcome"]),
        error=row["error"],
    )
