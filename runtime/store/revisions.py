"""The component repository: numbered revisions, each named by its content."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from runtime.components import load_component
from runtime.document import NAME, NAME_RULE, meant
from runtime.errors import ComponentError, InputError
from runtime.flows import Draft, Version
from runtime.model import Component, Revision
from runtime.store.content import Content
from runtime.store.database import Database
from runtime.store.instants import Now, written


@dataclass(frozen=True, slots=True)
class RevisionEntry:
    """A revision as the store lists it. ``is_new`` where the deploy that returns it made it."""

    component: str
    number: int
    digest: str
    created_at: str
    is_new: bool = False


class Revisions:
    """Deploys component folders and finds their revisions. Methods are safe from any thread."""

    def __init__(self, database: Database, content: Content, now: Now) -> None:
        self._database = database
        self._content = content
        self._now = now
        self._deploying = threading.Lock()

    def deploy(self, folder: Path) -> RevisionEntry:
        """Keep a component folder as the component's next revision; its name is the folder's.

        The same content as the newest: that revision. Raises ComponentError for a folder that is
        no component or cannot be kept, StoreError where the store cannot be written.
        """
        # A link keeps its own name; "." gets one.
        folder = Path(os.path.abspath(folder))
        component = load_component(folder)
        if not NAME.fullmatch(component.name):
            raise ComponentError(
                f"{component.name!r} is no name for a component",
                where=str(folder),
                remedy=f"Rename the folder: {NAME_RULE}",
            )
        self._database.ensure_open()
        # Content first: a row without it would be worse than content without a row.
        with self._deploying:
            digest = self._content.keep(component, self._is_named)
            with self._database.transaction() as connection:
                return self._enter(connection, component.name, digest)

    def _is_named(self, digest: str) -> bool:
        """Whether it is the content of any component's revision."""
        rows = self._database.rows("SELECT 1 FROM revision WHERE digest = ? LIMIT 1", (digest,))
        return bool(rows)

    def _enter(self, connection: sqlite3.Connection, name: str, digest: str) -> RevisionEntry:
        row = connection.execute(
            "SELECT component, number, digest, created_at FROM revision"
            " WHERE component = ? ORDER BY number DESC LIMIT 1",
            (name,),
        ).fetchone()
        if row is not None and row["digest"] == digest:
            return RevisionEntry(**row)
        number = 1 if row is None else row["number"] + 1
        entry = RevisionEntry(name, number, digest, written(self._now()), is_new=True)
        connection.execute(
            "INSERT INTO revision (component, number, digest, created_at) VALUES (?, ?, ?, ?)",
            (entry.component, entry.number, entry.digest, entry.created_at),
        )
        return entry

    def components(self) -> tuple[str, ...]:
        """The names of all components, in alphabetical order."""
        rows = self._database.rows("SELECT DISTINCT component FROM revision ORDER BY component")
        return tuple(row["component"] for row in rows)

    def entries(self, component: str) -> tuple[RevisionEntry, ...]:
        """A component's revisions, oldest first. Raises InputError when there is none."""
        rows = self._database.rows(
            "SELECT component, number, digest, created_at FROM revision"
            " WHERE component = ? ORDER BY number",
            (component,) if NAME.fullmatch(component) else ("",),
        )
        if not rows:
            raise self._unknown(component)
        return tuple(RevisionEntry(**row) for row in rows)

    def get(self, component: str, number: int | None = None) -> Revision:
        """A revision whose root is the stored copy; the newest without a number.

        Raises InputError when there is none, StoreError when its content is not what it was.
        """
        entries = self.entries(component)
        if number is None:
            return self._content.revision(component, entries[-1].digest)
        for entry in entries:
            if entry.number == number:
                return self._content.revision(component, entry.digest)
        raise InputError(
            f"component {component!r} has no revision {number}",
            remedy=f"It has 1 to {entries[-1].number}",
        )

    def of(self, version: Version | Draft) -> dict[str, Revision]:
        """Step id -> the revision that step is started from now.

        The pinned one, or the newest where the step follows it. Raises StoreError like :meth:`get`.
        """
        pinned = {pin.component: pin.number for pin in version.pins}
        found: dict[tuple[str, int | None], Revision] = {}
        steps: dict[str, Revision] = {}
        for step in version.definition.steps:
            key = (step.component, None if step.follow_newest else pinned[step.component])
            if key not in found:
                found[key] = self.get(*key)
            steps[step.id] = found[key]
        return steps

    def library(self) -> Mapping[str, Component]:
        """The newest revision of each component; read when it is asked for."""
        return _Library(self)

    def _unknown(self, component: str) -> InputError:
        known = self.components()
        hint = meant(component, known) or f"; there are {', '.join(known) or 'none'}"
        return InputError(
            f"there is no component {component!r}{hint}",
            remedy="Deploy its folder first",
        )


class _Library(Mapping[str, Component]):
    def __init__(self, revisions: Revisions) -> None:
        self._revisions = revisions
        self._names = revisions.components()

    def __getitem__(self, name: str) -> Component:
        if name not in self._names:
            raise KeyError(name)
        return self._revisions.get(name).component

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)
