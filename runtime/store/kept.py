"""What components leave with the platform: a snapshot for each step, the startup hook's state."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Any

from runtime.document import NAME
from runtime.errors import InputError, StateError
from runtime.model import FlowState
from runtime.store.database import Database, as_json
from runtime.store.instants import Now, written

MOST_BYTES = 1024**2
"""Of one snapshot, or one flow's startup state, as JSON. They are small by their purpose."""


class Snapshots:
    """One small state for each step, kept between calls and between starts."""

    def __init__(self, database: Database, now: Now) -> None:
        self._database = database
        self._now = now

    def save(self, flow: str, step: str, snapshot: Mapping[str, Any]) -> None:
        """Replace a step's snapshot. Raises InputError for one that is too large or no JSON."""
        text = as_json(dict(snapshot), f"the snapshot of {step!r}", most_bytes=MOST_BYTES)
        with self._database.transaction() as connection:
            _state(connection, flow)
            connection.execute(
                "INSERT INTO snapshot (flow, step, content, saved_at) VALUES (?, ?, ?, ?)"
                " ON CONFLICT DO UPDATE"
                " SET content = excluded.content, saved_at = excluded.saved_at",
                (flow, step, text, written(self._now())),
            )

    def load(self, flow: str, step: str) -> dict[str, Any]:
        """A step's snapshot; empty where there is none."""
        rows = self._database.rows(
            "SELECT content FROM snapshot WHERE flow = ? AND step = ?", (flow, step)
        )
        if not rows:
            return {}
        what = f"the snapshot of {step!r}"
        found = self._database.parsed(rows[0]["content"], what)
        if not isinstance(found, dict):
            raise self._database.damaged(f"{what} is no object")
        return found

    def reset(self, flow: str, step: str | None = None) -> int:
        """Drop a step's snapshot, or those of all steps; return how many there were.

        Raises StateError unless the flow is stopped.
        """
        with self._database.transaction() as connection:
            state = _state(connection, flow)
            if state != FlowState.STOPPED:
                raise StateError(
                    f"flow {flow!r} is {state}; snapshots are reset only while it is stopped",
                    remedy="Stop it first",
                )
            return connection.execute(
                "DELETE FROM snapshot WHERE flow = ?1 AND (?2 IS NULL OR step = ?2)", (flow, step)
            ).rowcount


class Startup:
    """What a flow's startup hook returned, kept until its shutdown hook."""

    def __init__(self, database: Database, now: Now) -> None:
        self._database = database
        self._now = now

    def put(self, flow: str, data: object) -> None:
        """Keep the state.

        Raises StateError where there is one already, InputError like a snapshot.
        """
        text = as_json(data, "what the startup hook returned", most_bytes=MOST_BYTES)
        with self._database.transaction() as connection:
            _state(connection, flow)
            added = connection.execute(
                "INSERT INTO startup (flow, content, saved_at) VALUES (?, ?, ?)"
                " ON CONFLICT DO NOTHING",
                (flow, text, written(self._now())),
            )
            if not added.rowcount:
                raise StateError(
                    f"flow {flow!r} has a startup state already", remedy="Delete that one first"
                )

    def get(self, flow: str) -> Any:
        """The state. Raises InputError where there is none."""
        rows = self._database.rows("SELECT content FROM startup WHERE flow = ?", (flow,))
        if not rows:
            raise InputError(f"flow {flow!r} has no startup state")
        return self._database.parsed(rows[0]["content"], f"the startup state of {flow!r}")

    def delete(self, flow: str) -> bool:
        """Drop the state; whether there was one."""
        with self._database.transaction() as connection:
            done = connection.execute("DELETE FROM startup WHERE flow = ?", (flow,))
            return bool(done.rowcount)


def _state(connection: sqlite3.Connection, flow: str) -> str:
    name = flow if NAME.fullmatch(flow) else ""
    row = connection.execute("SELECT state FROM flow WHERE name = ?", (name,)).fetchone()
    if row is None:
        raise InputError(f"there is no flow {flow!r}", remedy="Save a draft of it first")
    return str(row["state"])
