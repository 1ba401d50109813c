"""The content of component folders: copied into the store whole, and never changed there.

``revisions/DIGEST/`` is made beside, brought to the disk, and renamed: there is all of it or none.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from runtime.components import load_component, revision
from runtime.errors import ComponentError, StoreError
from runtime.model import Component, Revision
from runtime.store.ownership import unwritable

MOST_BYTES = 64 * 1024**2
_BESIDE = ".new-"


def sweep(revisions: Path) -> None:
    """Remove copies that a crash left unfinished."""
    for folder in revisions.glob(f"{_BESIDE}*"):
        shutil.rmtree(folder)


def is_empty(revisions: Path) -> bool:
    """Whether no revision was ever kept here."""
    return not any(not path.name.startswith(".") for path in revisions.iterdir())


def content_digest(root: Path) -> str:
    """The digest of a folder as it stands. Raises OSError where it cannot be read."""
    return revision(Component(root.name, root, "", {})).digest


def is_sound(revisions: Path, digest: str) -> bool:
    """Whether the stored content is there and still has its digest."""
    try:
        return content_digest(revisions / digest) == digest
    except OSError:
        return False


def keep(source: Component, revisions: Path) -> str:
    """Copy a component's folder into the store, unless it is there; return its digest.

    Damaged content of the same digest is replaced. Raises ComponentError for what cannot be part
    of a revision, StoreError where the store cannot be written. One call at a time.
    """
    files = revision_files(source.root)
    try:
        digest = content_digest(source.root)
    except (OSError, UnicodeError) as error:
        raise _unreadable(source.root, error) from error
    if is_sound(revisions, digest):
        return digest
    try:
        beside = Path(tempfile.mkdtemp(prefix=_BESIDE, dir=revisions))
    except OSError as error:
        raise unwritable(revisions, error) from error
    try:
        return _copied(source.root, digest, files, beside)
    finally:
        shutil.rmtree(beside, ignore_errors=True)  # There only where something failed.


def _copied(root: Path, expected: str, files: tuple[str, ...], beside: Path) -> str:
    total = 0
    for name in files:
        try:
            content = (root / name).read_bytes()
            executable = (root / name).stat().st_mode & 0o111
        except OSError as error:
            raise _unreadable(root / name, error) from error
        total += len(content)
        if total > MOST_BYTES:
            raise _too_large(root)
        try:
            _write(beside / name, content, 0o444 | executable)
        except OSError as error:
            raise unwritable(beside.parent, error) from error
    # The source may have changed since it was checked: what counts is the copy.
    digest = content_digest(beside)
    if digest != expected:
        load_component(beside)
    target = beside.parent / digest
    try:
        beside.chmod(0o755)  # a step's process may be another user's
        for folder, _, _ in os.walk(beside):
            _flush(Path(folder))
        if target.exists() and not is_sound(beside.parent, digest):
            shutil.rmtree(target)
        if not target.exists():
            beside.rename(target)
        _flush(beside.parent)
    except OSError as error:
        raise unwritable(beside.parent, error) from error
    return digest


def revision_files(root: Path) -> tuple[str, ...]:
    """The relative paths of the files that make up a revision, in order.

    What the interpreter leaves behind does not count. Raises ComponentError for links that lead out
    of the folder, or to a folder, for what is neither file nor folder, for names that are not
    UTF-8, and for more than 64 MiB.
    """
    inside = root.resolve()
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


def stored(revisions: Path, component: str, digest: str, known: dict[str, Component]) -> Revision:
    """A revision whose root is the stored copy, after a look at its digest.

    ``known`` keeps what the manifests say, by digest. Raises StoreError when the content is
    missing, unreadable or not what it was.
    """
    root = revisions / digest
    what = ""
    try:
        if not root.is_dir():
            what = "is missing"
        elif content_digest(root) != digest:
            what = "was changed"
    except OSError as error:
        what = f"cannot be read: {error.strerror or error}"
    if what:
        raise StoreError(
            f"the content of a revision of component {component!r} {what}",
            where=str(root),
            remedy="Deploy the folder that it was made from again: that puts the content right",
        )
    if digest not in known:
        known[digest] = load_component(root)
    found = known[digest]
    # Two components may have one content: the folder is named by its digest.
    return Revision(Component(component, root, found.title, found.functions), digest)


def _check_file(entry: os.DirEntry[str], inside: Path) -> None:
    what, remedy = "", ""
    if entry.is_symlink():
        target = Path(entry.path).resolve()
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


def _write(path: Path, content: bytes, mode: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fchmod(file.fileno(), mode)
        os.fsync(file.fileno())


def _flush(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unreadable(path: Path, error: Exception) -> ComponentError:
    what = (isinstance(error, OSError) and error.strerror) or str(error)
    return ComponentError(
        f"cannot be read: {what}", where=str(path), remedy="Make all in it readable for this user"
    )


def _too_large(root: Path) -> ComponentError:
    return ComponentError(
        f"more than {MOST_BYTES // 1024**2} MiB",
        where=str(root),
        remedy="Leave out what the component does not need, such as environments and data",
    )
