"""Where a platform that runs is found: ``platform.json`` in the folder of its store."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from runtime.errors import InputError

FILE = "platform.json"
VARIABLE = "HOPBENCH_STORE"
DEFAULT = Path("platform")


@dataclass(frozen=True, slots=True)
class Place:
    """A platform's address, the credentials that open it, and its process."""

    url: str
    user: str
    password: str
    pid: int


def store_folder(given: Path | None) -> Path:
    """The store that a command is about: as given, else as the environment says, else here."""
    return given or Path(os.environ.get(VARIABLE) or DEFAULT)


@contextmanager
def announced(folder: Path, place: Place) -> Iterator[None]:
    """Leave the place in the store's folder while the platform runs; for its owner's eyes only."""
    path = folder / FILE
    new = path.with_suffix(".new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        json.dump(asdict(place), file, indent=1)
    new.rename(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def find(folder: Path) -> Place:
    """The platform that has this store. Raises InputError where none runs."""
    path = folder / FILE
    try:
        return Place(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise nobody(folder) from None
    except (OSError, ValueError, TypeError) as error:
        raise InputError(
            f"cannot be read: {error}",
            where=str(path),
            remedy="Stop the platform and start it again",
        ) from error


def nobody(folder: Path) -> InputError:
    """What to say where no platform answers for a store."""
    return InputError(
        "no platform runs on this store",
        where=str(folder),
        remedy=f"Start one with `python -m bench flow serve --store {folder}`; or name another "
        f"store with --store or {VARIABLE}",
    )
