"""The platform's store: components with their revisions, flows, snapshots, history.

A folder with ``platform.sqlite``, ``revisions/DIGEST/`` (the content of component folders) and the
lock of the one platform that has it open. It survives a crash at any point: every method is one
transaction, and content is whole before a row names it.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

from runtime.definitions import read_definition
from runtime.errors import StoreError
from runtime.flows import Definition
from runtime.store.actions import Actions
from runtime.store.content import Content, is_empty, sweep
from runtime.store.database import Database
from runtime.store.failures import Failures
from runtime.store.flows import Flows
from runtime.store.instants import Now, wall_clock
from runtime.store.kept import Snapshots, Startup
from runtime.store.ownership import Ownership, unwritable
from runtime.store.revisions import Revisions

DATABASE, REVISIONS, LOCK = "platform.sqlite", "revisions", "platform.lock"
BUSY_TIMEOUT_S = 5.0


class Store:
    """An open store; its parts are its attributes. All methods are safe from any thread."""

    def __init__(self, folder: Path, ownership: Ownership, database: Database, now: Now) -> None:
        self.folder = folder
        self._ownership = ownership
        self._database = database
        self._is_open = True
        self._content = Content(folder / REVISIONS)
        self.revisions = Revisions(database, self._content, now)
        self.flows = Flows(database, now)
        self.snapshots = Snapshots(database, now)
        self.startup = Startup(database, now)
        self.failures = Failures(database, now)
        self.actions = Actions(database, now)

    @classmethod
    def open(
        cls, folder: Path, *, busy_timeout_s: float = BUSY_TIMEOUT_S, now: Now = wall_clock
    ) -> Store:
        """Open the store in a folder, made where it is new.

        Raises StoreError when another platform has it, when it is read-only, locked for longer than
        ``busy_timeout_s``, damaged, or of a newer schema.
        """
        folder = folder.absolute()
        revisions = folder / REVISIONS
        try:
            # Configurations can hold secrets: nobody else's to read.
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise unwritable(folder, error) from error
        ownership = Ownership(folder / LOCK)
        try:
            try:
                revisions.mkdir(exist_ok=True)
                sweep(revisions)
                may_create = is_empty(revisions)
            except OSError as error:
                raise unwritable(revisions, error) from error
            database = Database(
                folder / DATABASE, busy_timeout_s=busy_timeout_s, may_create=may_create
            )
        except BaseException:
            ownership.release()
            raise
        return cls(folder, ownership, database, now)

    def definition(self, document: object, *, where: str = "") -> Definition:
        """Read and check a definition against the newest revisions of the components here.

        Raises DefinitionError with every problem found.
        """
        return read_definition(document, self.revisions.library(), where=where)

    def close(self) -> None:
        """Close the store and let others have it. Idempotent."""
        if self._is_open:
            self._is_open = False
            self._database.close()
            self._content.close()
            self._ownership.release()

    def __enter__(self) -> Store:
        if not self._is_open:
            raise StoreError("the store has been closed", where=str(self.folder))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
