"""Messages that went wrong: what a step said, and the message that it could not handle.

They are kept until they have been tried again, whatever becomes of the flow and its queues.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from runtime.errors import InputError
from runtime.store.database import Database, storable
from runtime.store.instants import Now, written

MOST_BYTES = 32 * 1024**2
"""Of one cause as JSON: a message of the largest size, in base64, and its headers."""
MOST_LISTED = 1000
"""In one page, where nothing else is asked for."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Something that a step reports. ``cause`` is null, or ``{key, body, headers, ...}``."""

    step: str
    error: str
    trace: str = ""
    cause: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class FailureEntry:
    """A failure as the store lists it. ``message_bytes`` is None where there is no message.

    ``is_whole`` says that the message can be tried again.
    """

    id: int
    flow: str
    step: str
    error: str
    trace: str
    failed_at: str
    message_bytes: int | None
    is_whole: bool


class Failures:
    """The failures of all flows. Methods are safe from any thread."""

    def __init__(self, database: Database, now: Now) -> None:
        self._database = database
        self._now = now

    def add(self, flow: str, failures: Iterable[Failure]) -> None:
        """Keep failures, all or none. Raises InputError for a cause that is too large."""
        found = [
            (flow, storable(one.step), storable(one.error), storable(one.trace), _text(one.cause))
            for one in failures
        ]
        at = written(self._now())
        with self._database.transaction() as connection:
            connection.executemany(
                "INSERT INTO failure (flow, step, error, trace, cause, failed_at)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                [(*one, at) for one in found],
            )

    def entries(
        self, flow: str, limit: int = MOST_LISTED, after: int = 0
    ) -> tuple[FailureEntry, ...]:
        """A flow's failures, the oldest first: at most ``limit`` with a number over ``after``."""
        rows = self._database.rows(
            "SELECT id, flow, step, error, trace, failed_at,"
            " json_extract(cause, '$.bytes') AS message_bytes,"
            " cause IS NOT NULL AND NOT coalesce(json_extract(cause, '$.cut'), 1) AS is_whole"
            " FROM failure WHERE flow = ? AND id > ? ORDER BY id LIMIT ?",
            (storable(flow), after, limit),
        )
        return tuple(
            FailureEntry(**{**dict(row), "is_whole": bool(row["is_whole"])}) for row in rows
        )

    def count(self, flow: str) -> int:
        """How many there are."""
        found = self._database.rows(
            "SELECT count(*) FROM failure WHERE flow = ?", (storable(flow),)
        )
        return int(found[0][0])

    def cause(self, flow: str, number: int) -> dict[str, Any] | None:
        """The message of a failure, if it has one. Raises InputError when there is none such."""
        rows = self._database.rows(
            "SELECT cause FROM failure WHERE flow = ? AND id = ?", (storable(flow), number)
        )
        if not rows:
            raise InputError(
                f"flow {flow!r} has no error {number}", remedy="List its errors, and take an id"
            )
        text = rows[0]["cause"]
        found = None if text is None else self._database.parsed(text, f"error {number}")
        if found is not None and not isinstance(found, dict):
            raise self._database.damaged(f"the cause of error {number} is no object")
        return found

    def remove(self, flow: str, numbers: Iterable[int]) -> int:
        """Forget failures; return how many there were."""
        with self._database.transaction() as connection:
            done = connection.executemany(
                "DELETE FROM failure WHERE flow = ? AND id = ?",
                [(storable(flow), number) for number in numbers],
            )
            return max(0, done.rowcount)


def _text(cause: Mapping[str, Any] | None) -> str | None:
    if cause is None:
        return None
    text = json.dumps(dict(cause))
    if len(text) > MOST_BYTES:
        raise InputError(f"a message of {len(text)} bytes as JSON is too large to be kept")
    return text
