"""What a broker that a platform starts itself leaves in the store's folder, for the next one.

A folder with ``broker.json`` (of which kind it is, and its user), ``lock``, and ``data/``, the
broker's own files. Whoever may open it has the store, so there is one at a time; what may be left
is the broker of a platform that was killed, which is waited for: two brokers on one set of files
would destroy it. A broker that is a process holds the lock itself, together with the platform.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from runtime.errors import BrokerUnavailable, InputError, StoreError
from runtime.launch import leftovers, owner

FOLDER = "broker"
"""The folder's name within the store's."""
_ABOUT, _LOCK, _DATA = "broker.json", "lock", "data"
_PATIENCE_S = 30.0
_POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class KeptData:
    """A broker's files at ``folder``, its user, and the descriptor of the lock.

    ``is_new`` says that nobody has left anything there.
    """

    root: Path
    folder: Path
    user: str
    password: str
    lock: int
    is_new: bool

    def release(self) -> None:
        """Let go, with all files left for the next one."""
        os.close(self.lock)

    def remove(self) -> None:
        """Let go, and remove all of it. Raises StoreError where that cannot be."""
        self.release()
        try:
            owner.remove_folder(self.root)
        except OSError as error:
            raise StoreError(
                f"the broker's data cannot be removed: {error}",
                where=str(self.root),
                remedy="Remove the folder yourself: no message waits in it",
            ) from error


def open_kept(root: Path, kind: str | None, *, patience_s: float = _PATIENCE_S) -> KeptData | None:
    """Take a store's broker data for a broker of this kind, made where there is none.

    ``kind`` is None for who starts no broker, and gets None. Raises InputError where there is data
    of another kind, which only a broker of that kind can read, or of a store at another place,
    whose queues have other names; StoreError where it cannot be read or written; BrokerUnavailable
    when the broker of a platform that was killed lives on.
    """
    try:
        said = _about(root)
        if said is not None:
            _check(root, kind, said)
        if kind is None:
            return None
        root.mkdir(mode=0o700, exist_ok=True)
        lock = os.open(root / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            _take(root, lock, patience_s)
            is_new = said is None
            if said is None:
                said = _describe(root, kind)
            folder = root / _DATA
            folder.mkdir(mode=0o700, exist_ok=True)
            user, password = str(said["user"]), str(said["password"])
        except BaseException:
            os.close(lock)
            raise
    except (OSError, ValueError, KeyError) as error:
        raise StoreError(
            f"the broker's data cannot be used: {error}",
            where=str(root),
            remedy="Make it readable and writable for this user; or remove the folder, with all "
            "messages that wait in it",
        ) from error
    return KeptData(root, folder, user, password, lock, is_new)


def _check(root: Path, kind: str | None, said: Mapping[str, object]) -> None:
    """Raise InputError unless a broker of this kind finds the queues that the data has."""
    if said.get("kind") != kind:
        raise InputError(
            f"messages of an earlier platform may wait here, in the data of {said.get('kind')}",
            where=str(root),
            remedy="Serve with the same --launcher and --broker once more, and end it in order; "
            "or remove the folder, with all that waits in it",
        )
    if said.get("root") != str(root):
        raise InputError(
            f"messages of an earlier platform may wait here, in queues named after {said['root']}",
            where=str(root),
            remedy="Serve the store at its old place once more, and end it in order; or remove the "
            "folder, with all that waits in it",
        )


def _about(root: Path) -> dict[str, object] | None:
    """What is said of the data; None where there is none."""
    try:
        said = json.loads((root / _ABOUT).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    if not isinstance(said, dict):
        raise ValueError(f"{_ABOUT} is no object")
    return said


def _describe(root: Path, kind: str) -> dict[str, object]:
    """Write down, before there is any data, whose it will be; whole or not at all."""
    said: dict[str, object] = {
        "kind": kind,
        "root": str(root),
        "user": f"hopbench-{secrets.token_hex(4)}",
        "password": secrets.token_urlsafe(24),
    }
    new = root / f"{_ABOUT}.new"
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(said, file, indent=1)
        file.flush()
        os.fsync(descriptor)
    new.rename(root / _ABOUT)
    return said


def _take(root: Path, lock: int, patience_s: float) -> None:
    """Wait for the earlier platform's broker, which is being ended; end it where it is not."""
    if _is_taken(lock, patience_s):
        return
    # Whoever should have ended it was killed, too.
    leftovers.clean()
    if not _is_taken(lock, patience_s):
        raise BrokerUnavailable(
            "the broker of an earlier platform still has its data",
            where=str(root),
            remedy=f"End the processes that have {root / _LOCK} open (`fuser` names them), and "
            "serve again",
        )


def _is_taken(lock: int, patience_s: float) -> bool:
    deadline = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_S)
        else:
            return True
