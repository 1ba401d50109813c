"""Flows: one draft each, numbered versions with their pins, the state and the type.

Every method is one transaction. What an operation may do in which state is the control plane's to
know; here a state changes only from what it was expected to be.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable
from typing import Any

from runtime.definitions import definition_document, stored_definition
from runtime.document import NAME, NAME_RULE, meant
from runtime.errors import DefinitionError, InputError, StateError
from runtime.flows import LEGAL, Definition, Draft, FlowEntry, Operation, Pin, Version
from runtime.model import FlowState, FlowType
from runtime.store.database import Database, as_json, storable
from runtime.store.instants import Now, written

MOST_DEFINITION_BYTES = 4 * 1024**2


class Flows:
    """The flows of a store. Methods are safe from any thread; an unknown flow is an InputError."""

    def __init__(self, database: Database, now: Now) -> None:
        self._database = database
        self._now = now

    def entries(self) -> tuple[FlowEntry, ...]:
        """All flows, in order of name."""
        return tuple(map(_entry, self._database.rows("SELECT * FROM flow_entry ORDER BY name")))

    def entry(self, flow: str) -> FlowEntry:
        """One flow."""
        with self._database.transaction() as connection:
            return _find(connection, flow)

    def save_draft(
        self, flow: str, definition: Definition, flow_type: FlowType | None = None
    ) -> Draft:
        """Make this the flow's draft, with the newest revision of each of its components pinned.

        A new flow is made, stopped, and ordinary unless ``flow_type`` says otherwise. The
        definition must have been checked (:meth:`Store.definition`). Raises InputError for a name
        that is none and for components that were never deployed, StateError for another type than
        the flow has.
        """
        if not NAME.fullmatch(flow):
            raise InputError(f"{flow!r} is no name for a flow", remedy=f"In a name, {NAME_RULE}")
        text = as_json(
            definition_document(definition), "the definition", most_bytes=MOST_DEFINITION_BYTES
        )
        with self._database.transaction() as connection:
            row = connection.execute("SELECT flow_type FROM flow WHERE name = ?", (flow,))
            known = row.fetchone()
            if known is None:
                connection.execute(
                    "INSERT INTO flow (name, flow_type, state) VALUES (?, ?, ?)",
                    (flow, flow_type or FlowType.ORDINARY, FlowState.STOPPED),
                )
            elif flow_type not in {None, known["flow_type"]}:
                raise StateError(
                    f"flow {flow!r} is {known['flow_type']}, and a draft does not change that",
                    remedy="Switch the flow while it is stopped",
                )
            pins = _newest(connection, {step.component for step in definition.steps})
            return self._write_draft(connection, flow, definition, text, pins)

    def revert(self, flow: str, number: int) -> Draft:
        """Make a version's definition and pins the flow's draft. Raises InputError for no such."""
        with self._database.transaction() as connection:
            entry = _find(connection, flow)
            version = self._version(connection, entry, number)
            text = as_json(
                definition_document(version.definition), flow, most_bytes=MOST_DEFINITION_BYTES
            )
            return self._write_draft(connection, flow, version.definition, text, version.pins)

    def draft(self, flow: str) -> Draft | None:
        """The flow's draft, if it has one."""
        with self._database.transaction() as connection:
            _find(connection, flow)
            row = connection.execute("SELECT * FROM draft WHERE flow = ?", (flow,)).fetchone()
            if row is None:
                return None
            definition = self._definition(row["definition"], f"the draft of {flow!r}")
            return Draft(flow, definition, _draft_pins(connection, flow), row["saved_at"])

    def discard_draft(self, flow: str) -> None:
        """Drop the draft. Raises StateError when there is none."""
        with self._database.transaction() as connection:
            _find(connection, flow)
            if not connection.execute("DELETE FROM draft WHERE flow = ?", (flow,)).rowcount:
                raise _no_draft(flow)

    def publish(self, flow: str) -> Version:
        """The draft becomes the next version, with its pins, and is gone.

        Raises StateError when there is none.
        """
        with self._database.transaction() as connection:
            entry = _find(connection, flow)
            row = connection.execute("SELECT * FROM draft WHERE flow = ?", (flow,)).fetchone()
            if row is None:
                raise _no_draft(flow)
            number = (entry.published or 0) + 1
            version = Version(
                flow,
                number,
                self._definition(row["definition"], f"the draft of {flow!r}"),
                _draft_pins(connection, flow),
                written(self._now()),
            )
            connection.execute(
                "INSERT INTO version (flow, number, definition, published_at) VALUES (?, ?, ?, ?)",
                (flow, number, row["definition"], version.published_at),
            )
            connection.execute(
                "INSERT INTO version_pin (flow, number, component, revision)"
                " SELECT flow, ?, component, revision FROM draft_pin WHERE flow = ?",
                (number, flow),
            )
            connection.execute("DELETE FROM draft WHERE flow = ?", (flow,))
            return version

    def version(self, flow: str, number: int) -> Version:
        """A published version. Raises InputError when there is none of that number."""
        with self._database.transaction() as connection:
            return self._version(connection, _find(connection, flow), number)

    def versions(self, flow: str) -> tuple[Version, ...]:
        """All published versions, oldest first."""
        with self._database.transaction() as connection:
            entry = _find(connection, flow)
            numbers = range(1, (entry.published or 0) + 1)
            return tuple(self._version(connection, entry, number) for number in numbers)

    def set_state(
        self,
        flow: str,
        expected: FlowState | Collection[FlowState],
        to: FlowState,
        *,
        running: int | None = None,
        reason: str | None = None,
        is_synced: bool = True,
    ) -> FlowEntry:
        """Change the state, if it is an expected one. ``running`` is the version that runs.

        Needed when the flow leaves ``stopped``; kept until given anew; gone when it is stopped.
        ``reason`` replaces the one that was there. Without ``is_synced`` a power cut may undo it.
        Raises StateError for another state, and InputError for a version that there is not.
        """
        wanted = {expected} if isinstance(expected, FlowState) else set(expected)
        with self._database.transaction(is_synced=is_synced) as connection:
            entry = _find(connection, flow)
            if entry.state not in wanted:
                raise StateError(
                    f"flow {flow!r} is {entry.state}, not {' or '.join(sorted(wanted))}",
                    remedy="Look at its status, and try again",
                )
            if to is FlowState.SLEEPING and entry.flow_type is FlowType.REALTIME:
                raise StateError(f"flow {flow!r} is realtime; only ordinary flows sleep")
            version = None if to is FlowState.STOPPED else running or entry.running
            if version is None and to is not FlowState.STOPPED:
                raise StateError(
                    f"flow {flow!r} cannot be {to} without a version that runs",
                    remedy="Publish its draft first",
                )
            if version is not None:
                self._version(connection, entry, version)
            connection.execute(
                "UPDATE flow SET state = ?, running = ?, reason = ? WHERE name = ?",
                (to, version, None if reason is None else storable(reason), flow),
            )
            return _find(connection, flow)

    def set_type(self, flow: str, to: FlowType) -> FlowEntry:
        """Switch the type. Raises StateError unless it is stopped and has a published version."""
        with self._database.transaction() as connection:
            entry = _find(connection, flow)
            if entry.state not in LEGAL[Operation.SWITCH]:
                raise StateError(
                    f"flow {flow!r} is {entry.state}; its type changes only while it is stopped",
                    remedy="Stop it first",
                )
            if entry.published is None:
                raise StateError(
                    f"flow {flow!r} has no published version", remedy="Publish its draft first"
                )
            connection.execute("UPDATE flow SET flow_type = ? WHERE name = ?", (to, flow))
            return _find(connection, flow)

    def _version(self, connection: sqlite3.Connection, entry: FlowEntry, number: int) -> Version:
        row = None
        if 0 < number <= (entry.published or 0):
            row = connection.execute(
                "SELECT * FROM version WHERE flow = ? AND number = ?", (entry.name, number)
            ).fetchone()
        if row is None:
            there = f"It has 1 to {entry.published}" if entry.published else "Publish its draft"
            raise InputError(f"flow {entry.name!r} has no version {number}", remedy=there)
        definition = self._definition(row["definition"], f"version {number} of {entry.name!r}")
        pins = _pins(
            connection.execute(
                "SELECT component, number, digest FROM revision JOIN"
                " (SELECT component AS pinned, revision FROM version_pin"
                "  WHERE flow = ? AND number = ?)"
                " ON component = pinned AND number = revision ORDER BY component",
                (entry.name, number),
            )
        )
        return Version(entry.name, number, definition, pins, row["published_at"])

    def _write_draft(
        self,
        connection: sqlite3.Connection,
        flow: str,
        definition: Definition,
        text: str,
        pins: tuple[Pin, ...],
    ) -> Draft:
        draft = Draft(flow, definition, pins, written(self._now()))
        connection.execute("DELETE FROM draft WHERE flow = ?", (flow,))
        connection.execute(
            "INSERT INTO draft (flow, definition, saved_at) VALUES (?, ?, ?)",
            (flow, text, draft.saved_at),
        )
        connection.executemany(
            "INSERT INTO draft_pin (flow, component, revision) VALUES (?, ?, ?)",
            [(flow, pin.component, pin.number) for pin in pins],
        )
        return draft

    def _definition(self, text: str, what: str) -> Definition:
        document = self._database.parsed(text, what)
        try:
            return stored_definition(document)
        except DefinitionError as error:
            raise self._database.damaged(f"{what}: {error}") from error


def _find(connection: sqlite3.Connection, flow: str) -> FlowEntry:
    name = flow if NAME.fullmatch(flow) else ""
    row = connection.execute("SELECT * FROM flow_entry WHERE name = ?", (name,)).fetchone()
    if row is None:
        known = [each["name"] for each in connection.execute("SELECT name FROM flow ORDER BY name")]
        raise InputError(
            f"there is no flow {flow!r}{meant(flow, known)}",
            remedy=f"There are {', '.join(known)}" if known else "Save a draft of it first",
        )
    return _entry(row)


def _entry(row: sqlite3.Row) -> FlowEntry:
    return FlowEntry(
        name=row["name"],
        flow_type=FlowType(row["flow_type"]),
        state=FlowState(row["state"]),
        published=row["published"],
        running=row["running"],
        has_draft=bool(row["has_draft"]),
        reason=row["reason"],
    )


def _newest(connection: sqlite3.Connection, components: Iterable[str]) -> tuple[Pin, ...]:
    pins, unknown = [], []
    for component in sorted(components):
        # SQLite takes the digest from the row of the maximum.
        row = connection.execute(
            "SELECT component, max(number) AS number, digest FROM revision WHERE component = ?",
            (component,),
        ).fetchone()
        if row["number"] is None:
            unknown.append(component)
        else:
            pins.append(Pin(**row))
    if unknown:
        raise InputError(
            f"never deployed: {', '.join(map(repr, unknown))}",
            remedy="Deploy the component's folder first",
        )
    return tuple(pins)


def _draft_pins(connection: sqlite3.Connection, flow: str) -> tuple[Pin, ...]:
    return _pins(
        connection.execute(
            "SELECT revision.component, number, digest FROM draft_pin JOIN revision"
            " ON revision.component = draft_pin.component AND number = draft_pin.revision"
            " WHERE flow = ? ORDER BY revision.component",
            (flow,),
        )
    )


def _pins(rows: Iterable[Any]) -> tuple[Pin, ...]:
    return tuple(Pin(**row) for row in rows)


def _no_draft(flow: str) -> StateError:
    return StateError(
        f"flow {flow!r} has no draft", remedy="Save one, or revert to an older version"
    )
