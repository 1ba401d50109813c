"""One platform to a store: the lock that says so, and who holds a file that we cannot get.

The lock is the kernel's (flock): it ends with the process that holds it, however that ends.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable
from pathlib import Path

from runtime.errors import StoreError


class Ownership:
    """Holds a store's lock file from its making to :meth:`release`.

    Raises StoreError, with the process that holds it, when another one does; also when the file
    cannot be made.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise unwritable(path, error) from error
        try:
            self._take(path)
        except BaseException:
            os.close(self._descriptor)
            raise

    def _take(self, path: Path) -> None:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            written = os.read(self._descriptor, 32).decode("ascii", "replace").strip()
            raise StoreError(
                f"in use by process {written or 'unknown: it has just begun'}",
                where=str(path.parent),
                remedy="Stop the platform that runs on this store, or give this one another folder",
            ) from error
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let go. The file stays: to remove it would take it from under somebody who waits."""
        os.close(self._descriptor)


def unwritable(path: Path, error: OSError) -> StoreError:
    """What to say of a file or folder of the store that cannot be written."""
    return StoreError(
        f"cannot be written: {error.strerror or error}",
        where=str(path),
        remedy="Make the store's folder and all in it writable for this user, on a file system "
        "that has room, or give another folder",
    )


def lock_holders(paths: Iterable[Path]) -> str:
    """The other processes that hold a lock on one of the files, as Linux tells; or "another"."""
    inodes = {str(path.stat().st_ino) for path in paths if path.exists()}
    holders: set[int] = set()
    try:
        lines = Path("/proc/locks").read_text(encoding="ascii").splitlines()
    except OSError:
        lines = []
    for line in lines:
        # 1: POSIX  ADVISORY  WRITE 1234 08:01:5678 120 120
        fields = [field for field in line.split() if field != "->"]
        if fields[5].rpartition(":")[2] in inodes:
            holders.add(int(fields[4]))
    named = [_program(pid) for pid in sorted(holders - {os.getpid()}) if pid > 0]
    return f"process {', '.join(named)}" if named else "another process"


def _program(pid: int) -> str:
    try:
        return f"{pid} ({Path(f'/proc/{pid}/comm').read_text(errors='replace').strip()})"
    except OSError:
        return str(pid)
