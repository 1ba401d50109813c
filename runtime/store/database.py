"""The store's SQLite file: checked when it is opened, then one connection under one lock.

The platform has many threads, and the store's operations take some tenths of a millisecond: one
connection that they take in turn is simpler than one for each, and lets none of them meet a lock
of another. A commit is on the disk when it returns (write-ahead log, synchronous=FULL), but where
its caller says that it need not be: then it survives a crash of the process, and comes to the disk
with the next one.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from runtime.errors import InputError, StoreError
from runtime.store.ownership import lock_holders, unwritable

APPLICATION_ID = 0x686F7062
SCHEMA = 1
_SCHEMA_FILE = Path(__file__).with_name("schema.sql")
_OLDEST_SQLITE = (3, 37, 0)
"""The first with STRICT tables."""
_RESTORE = "Keep the file, and restore it from a copy; or start with a new folder"
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
# The second: from sqlite3 itself, where SQLite's message quotes a damaged schema.
_FAILURES = (sqlite3.Error, UnicodeDecodeError)


class Database:
    """An open store file.

    ``may_create`` is False where its content tells that there was one. Raises StoreError when the
    file is damaged, not ours, of a newer schema, read-only, or locked by another process for
    longer than ``busy_timeout_s``.
    """

    def __init__(self, path: Path, *, busy_timeout_s: float, may_create: bool) -> None:
        if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
            raise StoreError(
                f"needs SQLite 3.37 or newer; this Python has {sqlite3.sqlite_version}",
                remedy="Use a newer Python build",
            )
        self.path = path
        self._busy_timeout_s = busy_timeout_s
        self._lock = threading.RLock()
        self._open = True
        try:
            # SQLite gives the files beside it the mode of this one.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        except OSError as error:
            raise unwritable(path, error) from error
        try:
            self._connection = sqlite3.connect(
                path, timeout=busy_timeout_s, isolation_level=None, check_same_thread=False
            )
        except sqlite3.Error as error:
            raise self._failure(error) from error
        try:
            self._prepare(may_create=may_create)
        except _FAILURES as error:
            failure = self._failure(error)
            self._connection.close()
            raise failure from error
        except BaseException:
            self._connection.close()
            raise

    @contextmanager
    def transaction(self, *, is_synced: bool = True) -> Iterator[sqlite3.Connection]:
        """All of what is done inside, or nothing. Raises StoreError where SQLite fails.

        Without ``is_synced`` a power cut may undo it, as if it had not been done.
        """
        with self._held() as connection:
            try:
                if not is_synced:
                    connection.execute("PRAGMA synchronous = NORMAL")
                connection.execute("BEGIN IMMEDIATE")
                yield connection
                connection.execute("COMMIT")
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                if not is_synced:
                    connection.execute("PRAGMA synchronous = FULL")

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[sqlite3.Row]:
        """What one SELECT finds. Raises StoreError where SQLite fails."""
        with self._held() as connection:
            return connection.execute(sql, parameters).fetchall()

    def ensure_open(self) -> None:
        """Raise StoreError when it has been closed."""
        with self._held():
            pass

    def close(self) -> None:
        """Close the file. Idempotent."""
        with self._lock:
            self._open = False
            self._connection.close()

    def parsed(self, text: str, what: str) -> Any:
        """A JSON text that was stored. Raises StoreError when it is none."""
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            raise self.damaged(f"{what} is not JSON: {error}") from error

    def damaged(self, what: str) -> StoreError:
        """The error for what cannot have been written by us."""
        return StoreError(f"damaged: {what}", where=str(self.path), remedy=_RESTORE)

    @contextmanager
    def _held(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            if not self._open:
                raise StoreError("the store has been closed", where=str(self.path))
            try:
                yield self._connection
            except _FAILURES as error:
                raise self._failure(error) from error

    def _prepare(self, *, may_create: bool) -> None:
        connection = self._connection
        connection.row_factory = sqlite3.Row
        # Nothing is written before it is known to be ours.
        application_id, version = self._pragma("application_id"), self._pragma("user_version")
        tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
        is_new = (application_id, version, tables) == (0, 0, 0)
        if is_new and not may_create:
            raise self.damaged("it is empty, although there are revisions beside it")
        if not is_new and application_id != APPLICATION_ID:
            raise StoreError(
                "a database of another program",
                where=str(self.path),
                remedy="Give the store a folder of its own",
            )
        if version > SCHEMA:
            raise StoreError(
                f"has schema {version}; this hopbench knows {SCHEMA}",
                where=str(self.path),
                remedy="Use the hopbench that wrote it, or start with a new folder",
            )
        found = [row[0] for row in connection.execute("PRAGMA quick_check(3)")]
        if found != ["ok"]:
            raise self.damaged("; ".join(map(str, found)))
        if lost := connection.execute("PRAGMA foreign_key_check").fetchone():
            raise self.damaged(f"a row of {lost[0]} has lost the row of {lost[2]} that it is about")
        if not is_new and _tables(connection) != _our_tables():
            raise self.damaged(f"its tables are not those of schema {SCHEMA}")
        if self._pragma("journal_mode = WAL") != "wal":
            raise StoreError(
                "its file system cannot hold a write-ahead log",
                where=str(self.path),
                remedy="Give a folder on a local disk",
            )
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        if is_new:
            connection.executescript(_SCHEMA_FILE.read_text(encoding="utf-8"))
        # A read-only file can be opened: only writing shows what it is.
        with self.transaction():
            connection.execute(f"PRAGMA user_version = {SCHEMA}")

    def _pragma(self, text: str) -> Any:
        with closing(self._connection.execute(f"PRAGMA {text}")) as cursor:
            return cursor.fetchone()[0]

    def _failure(self, error: Exception) -> StoreError:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        what, remedy = f"SQLite failed: {error}", "Look at the file, and at the disk it is on"
        if code in _DAMAGED or isinstance(error, UnicodeDecodeError):
            what, remedy = f"damaged: {error}", _RESTORE
        elif code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
            shared = self.path.with_name(f"{self.path.name}-shm")
            who = lock_holders((self.path, shared))
            what = f"locked by {who} for more than {self._busy_timeout_s:g} s"
            remedy = "End that process, or let it finish, and try again"
        elif code in {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM}:
            what = f"cannot be opened for writing: {error}"
            remedy = "Make the folder and all in it writable for this user, or give another folder"
        elif code == sqlite3.SQLITE_FULL:
            what, remedy = "the disk is full; nothing was changed", "Make room, and try again"
        return StoreError(what, where=str(self.path), remedy=remedy)


def _tables(connection: sqlite3.Connection) -> set[tuple[str, str, str]]:
    rows = connection.execute("SELECT type, name, sql FROM sqlite_schema WHERE sql IS NOT NULL")
    return {tuple(row) for row in rows}


@cache
def _our_tables() -> set[tuple[str, str, str]]:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(_SCHEMA_FILE.read_text(encoding="utf-8"))
        return _tables(connection)


def as_json(value: object, what: str, *, most_bytes: int) -> str:
    """A value as JSON text. Raises InputError when JSON cannot hold it, or it is too large."""
    try:
        text = json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(
            f"{what} cannot be stored as JSON: {error}", remedy="Use plain objects and values"
        ) from error
    if len(text) > most_bytes:
        raise InputError(
            f"{what} is too large: {len(text)} bytes as JSON",
            remedy=f"Keep it below {most_bytes} bytes",
        )
    return text


def storable(text: str) -> str:
    """A text from outside, without what UTF-8 cannot hold (halves of characters)."""
    return text.encode("utf-8", "backslashreplace").decode()
