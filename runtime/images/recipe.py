"""What goes into an image, and the name that follows from it. Reads files; starts nothing."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from runtime.errors import ImageError

ROOT = Path(__file__).parents[2]
DOCKERFILES = Path(__file__).parent
_HOST_ONLY = frozenset({"census.py", "leash.py", "node.py", "nats_server.py"})
"""Modules of runtime/broker that start servers: nothing inside an image does."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """An image to be: ``files`` by their path in the build context, ``site`` a folder of packages.

    ``site_key`` stands for the folder's content, so that the name is known before it is made.
    """

    name: str
    dockerfile: str
    base: str
    files: Mapping[str, bytes] = field(default_factory=dict)
    site_key: str = ""
    online: bool = False

    @property
    def tag(self) -> str:
        """The image's name: the hash of all that goes into it."""
        digest = hashlib.sha256()
        for part in (self.dockerfile, self.base, self.site_key):
            digest.update(f"{len(part)}:{part}".encode())
        for path, content in sorted(self.files.items()):
            digest.update(f"{len(path)}:{path}{len(content)}:".encode())
            digest.update(content)
        return f"hopbench/{self.name}:{digest.hexdigest()[:16]}"


def dockerfile(name: str) -> str:
    """The text of one of our Dockerfiles."""
    return (DOCKERFILES / f"{name}.Dockerfile").read_text(encoding="utf-8")


def folder_files(folder: Path, into: str) -> dict[str, bytes]:
    """All files of a folder by their path in the build context, caches and dot files left out.

    Raises ImageError when one cannot be read.
    """
    files: dict[str, bytes] = {}
    try:
        for path in sorted(folder.rglob("*")):
            inside = path.relative_to(folder)
            hidden = any(part.startswith(".") or part == "__pycache__" for part in inside.parts)
            if path.is_file() and not hidden:
                files[f"{into}/{inside.as_posix()}"] = path.read_bytes()
    except OSError as error:
        raise ImageError(
            f"cannot read what goes into an image: {error.strerror}",
            where=str(error.filename or folder),
            remedy="Make the folder readable",
        ) from error
    return files


def runtime_files() -> dict[str, bytes]:
    """The part of the runtime that is inside images: worker, envelope, spans, broker adapters."""
    runtime = ROOT / "runtime"
    paths = [runtime / f"{name}.py" for name in ("__init__", "errors", "clock", "spans", "message")]
    paths += sorted((runtime / "worker").glob("*.py"))
    paths += [p for p in sorted((runtime / "broker").glob("*.py")) if p.name not in _HOST_ONLY]
    return _read(paths)


def load_files() -> dict[str, bytes]:
    """The load generator, beside what it needs of the runtime."""
    bench = ROOT / "bench"
    return runtime_files() | _read([bench / "__init__.py", *sorted((bench / "load").glob("*.py"))])


def bare_files() -> dict[str, bytes]:
    """The bare clients that the floor is measured with."""
    bare = ROOT / "bench" / "bare"
    return {f"bare/{path.name}": path.read_bytes() for path in sorted(bare.glob("*.py"))}


def _read(paths: list[Path]) -> dict[str, bytes]:
    return {f"app/{path.relative_to(ROOT).as_posix()}": path.read_bytes() for path in paths}


def write_context(recipe: Recipe, site: Path | None, out: IO[bytes]) -> None:
    """Write the build context as a tar archive that is equal for equal content."""
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        _add(archive, "Dockerfile", recipe.dockerfile.encode())
        for path, content in sorted(recipe.files.items()):
            _add(archive, path, content)
        if site is not None:
            for file in _walk(site):
                _add(archive, f"site/{file.relative_to(site).as_posix()}", file.read_bytes())


def _walk(root: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(root):
        folders.sort()
        yield from (Path(folder, name) for name in sorted(names))


def _add(archive: tarfile.TarFile, path: str, content: bytes) -> None:
    entry = tarfile.TarInfo(path)
    entry.size = len(content)
    # Time and owner stay 0: the builder's cache compares them.
    entry.mode = 0o644
    archive.addfile(entry, io.BytesIO(content))
