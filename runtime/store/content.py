"""The content of component folders: copied into the store whole, and never changed there.

``revisions/DIGEST/`` is made beside, renamed, and brought to the disk before the store names it.
What a crash leaves there is found by its digest, and replaced when it is deployed again.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from runtime.components import content_digest, load_component, revision
from runtime.errors import ComponentError, StoreError
from runtime.model import Component, Revision
from runtime.store.ownership import unwritable

MOST_BYTES = 64 * 1024**2
_BESIDE = ".new-"
_FLUSHERS = 16


def sweep(revisions: Path) -> None:
    """Remove copies that a crash left unfinished."""
    for folder in revisions.glob(f"{_BESIDE}*"):
        shutil.rmtree(folder)


def is_empty(revisions: Path) -> bool:
    """Whether no revision was ever kept here."""
    return not any(not path.name.startswith(".") for path in revisions.iterdir())


class Content:
    """The contents of all revisions, in one folder.

    Safe from any thread, but for :meth:`keep`: one call at a time.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._flushers = ThreadPoolExecutor(_FLUSHERS, "flush")
        self._manifests: dict[str, Component] = {}

    def close(self) -> None:
        """End the threads that wait for work."""
        self._flushers.shutdown()

    def keep(self, component: Component, is_named: Callable[[str], bool]) -> str:
        """Copy a component's folder into the store, unless it is there; return its digest.

        ``is_named`` says whether the store names the content of a digest: then it is on the disk.
        Damaged content of the same digest is replaced. Raises ComponentError for what cannot be
        part of a revision, StoreError where the store cannot be written.
        """
        files = _read(component.root)
        digest = content_digest((name, content) for name, content, _ in files)
        target = self._folder / digest
        is_sound = self._is_sound(digest)
        if is_sound and is_named(digest):
            return digest
        try:
            if is_sound:  # A deploy was killed between its files and its row.
                self._flush(target)
                return digest
            beside = Path(tempfile.mkdtemp(prefix=_BESIDE, dir=self._folder))
            try:
                self._put(files, beside, target)
            finally:
                shutil.rmtree(beside, ignore_errors=True)  # There only where something failed.
        except OSError as error:
            raise unwritable(self._folder, error) from error
        return digest

    def revision(self, component: str, digest: str) -> Revision:
        """A revision whose root is the stored copy, after a look at its digest.

        Raises StoreError when the content is missing, unreadable or not what it was.
        """
        root = self._folder / digest
        what = ""
        try:
            if not root.is_dir():
                what = "is missing"
            elif _digest(root) != digest:
                what = "was changed"
        except OSError as error:
            what = f"cannot be read: {error.strerror or error}"
        if what:
            raise StoreError(
                f"the content of a revision of component {component!r} {what}",
                where=str(root),
                remedy="Deploy the folder it was made from again: that puts the content right",
            )
        if digest not in self._manifests:
            self._manifests[digest] = load_component(root)
        found = self._manifests[digest]
        # Two components may have one content: the folder is named by its digest.
        return Revision(Component(component, root, found.title, found.functions), digest)

    def _put(self, files: Sequence[tuple[str, bytes, int]], beside: Path, target: Path) -> None:
        for name, content, mode in files:
            path = beside / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("xb") as file:
                file.write(content)
                os.fchmod(file.fileno(), mode)
        beside.chmod(0o755)  # a step's process may be another user's
        # The source may have changed since it was checked.
        load_component(beside)
        if target.exists():
            shutil.rmtree(target)
        beside.rename(target)
        self._flush(target)

    def _flush(self, target: Path) -> None:
        """Bring a revision's files and folders to the disk, with its name in the folder of all."""
        # Side by side, they share commits of the file system's journal: 4 ms for 10 files, not 20.
        for _ in self._flushers.map(_flush, [self._folder, target, *target.rglob("*")]):
            pass

    def _is_sound(self, digest: str) -> bool:
        try:
            return _digest(self._folder / digest) == digest
        except OSError:
            return False


def revision_files(root: Path) -> tuple[str, ...]:
    """The relative paths of the files that make up a revision, in order.

    What the interpreter leaves behind does not count. Raises ComponentError for links that lead out
    of the folder, or to a folder, for what is neither file nor folder, for names that are not
    UTF-8, and for more than 64 MiB.
    """
    inside = Path(os.path.realpath(root))
    found: list[str] = []
    folders = [root]
    total_bytes = 0
    while folders:
        try:
            entries = sorted(os.scandir(folders.pop()), key=lambda entry: entry.name)
            for entry in entries:
                if entry.name == "__pycache__":
                    continue
                if entry.is_dir(follow_symlinks=False):
                    folders.append(Path(entry.path))
                elif Path(entry.name).suffix != ".pyc":
                    _check_file(entry, inside)
                    total_bytes += entry.stat().st_size
                    found.append(Path(entry.path).relative_to(root).as_posix())
        except OSError as error:
            raise _unreadable(root, error) from error
    if total_bytes > MOST_BYTES:
        raise _too_large(root)
    return tuple(sorted(found))


def _digest(root: Path) -> str:
    return revision(Component(root.name, root, "", {})).digest


def _read(root: Path) -> tuple[tuple[str, bytes, int], ...]:
    """Path, content and mode of every file of a component folder."""
    files = []
    total_bytes = 0
    for name in revision_files(root):
        try:
            content = (root / name).read_bytes()
            executable = (root / name).stat().st_mode & 0o111
        except OSError as error:
            raise _unreadable(root / name, error) from error
        total_bytes += len(content)
        if total_bytes > MOST_BYTES:
            raise _too_large(root)
        files.append((name, content, 0o444 | executable))
    return tuple(files)


def _check_file(entry: os.DirEntry[str], inside: Path) -> None:
    what, remedy = "", ""
    if entry.is_symlink():
        # Path.resolve() raises RuntimeError for a link to itself, before Python 3.13.
        target = Path(os.path.realpath(entry.path))
        if not target.is_relative_to(inside):
            what, remedy = "leads out of the component folder", "Put a copy of the file there"
        elif target.is_dir():
            what, remedy = "is a link to a folder", "Put a copy of the folder there"
        elif not target.is_file():
            what, remedy = "is a link to nothing that can be kept", "Remove it"
    elif not entry.is_file(follow_symlinks=False):
        what, remedy = "is neither file nor folder", "Remove it"
    try:
        entry.name.encode()
    except UnicodeEncodeError:
        what, remedy = "has a name that is not UTF-8", "Rename it"
    if what:
        place = os.fsencode(entry.path).decode(errors="replace")
        raise ComponentError(f"{what}; it cannot be part of a revision", where=place, remedy=remedy)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unreadable(path: Path, error: OSError) -> ComponentError:
    what = error.strerror or str(error)
    return ComponentError(
        f"cannot be read: {what}", where=str(path), remedy="Make all in it readable for this user"
    )


def _too_large(root: Path) -> ComponentError:
    return ComponentError(
        f"more than {MOST_BYTES // 1024**2} MiB",
        where=str(root),
        remedy="Leave out what the component does not need, such as environments and data",
    )
