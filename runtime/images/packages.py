"""Folders of Python packages that match an image's interpreter, made by this host's pip.

pip runs here and not inside the build, so that an image can be built without a network of its own.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from runtime.errors import ImageError
from runtime.images.recipe import ROOT
from runtime.launch.owner import cache_folder

WORKER = ("pika", "orjson", "jsonata-python", "nats-py", "cryptography")
LOAD = ("locust", "pika", "orjson", "nats-py", "cryptography")
CONSTRAINTS = ROOT / "constraints.txt"
_MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
_LAST_LINES = 15
_PIP_TIMEOUT_S = 600
_GLIBC = ("manylinux_2_34", "manylinux_2_28", "manylinux_2_17", "manylinux2014")
"""What the images' C library (2.36 or newer) can load; pip does not conclude it by itself."""


@dataclass(frozen=True, slots=True)
class Target:
    """The interpreter packages are for: ``python`` as ``3.11``, ``machine`` as Docker says it."""

    python: str
    machine: str


@dataclass(frozen=True, slots=True)
class Packages:
    """Pinned packages for one interpreter."""

    requirements: tuple[str, ...]
    target: Target
    constraints: bytes

    @property
    def key(self) -> str:
        """The hash of all that decides the folder's content."""
        text = "\0".join((*self.requirements, self.target.python, self.target.machine))
        return hashlib.sha256(text.encode() + b"\0" + self.constraints).hexdigest()[:16]

    def folder(self) -> Path:
        """The folder with the packages, installed when it is not in the cache yet.

        Raises ImageError with pip's last lines.
        """
        cache = cache_folder("site")
        folder = cache / self.key
        if folder.is_dir():
            return folder
        with tempfile.TemporaryDirectory(dir=cache, prefix=".part-") as part:
            made = Path(part, "site")
            self._install(made)
            shutil.rmtree(made / "bin", ignore_errors=True)
            try:
                made.rename(folder)
            except OSError:
                if not folder.is_dir():  # else another run was faster, with the same result
                    raise
        return folder

    def _install(self, into: Path) -> None:
        machine = _MACHINES.get(self.target.machine, self.target.machine)
        command = [
            sys.executable, "-m", "pip", "install", "--quiet", "--no-input", "--no-compile",
            "--disable-pip-version-check", "--target", str(into), "--constraint", str(CONSTRAINTS),
            "--python-version", self.target.python, "--implementation", "cp",
            "--only-binary=:all:",
            *(f"--platform={glibc}_{machine}" for glibc in _GLIBC),
            *self.requirements,
        ]  # fmt: skip
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, check=False, timeout=_PIP_TIMEOUT_S
            )
        except subprocess.TimeoutExpired as error:
            raise ImageError(
                f"pip did not finish in {_PIP_TIMEOUT_S} s",
                where=", ".join(self.requirements),
                remedy="See whether the package index answers",
            ) from error
        if done.returncode != 0:
            last = "\n  ".join(done.stderr.strip().splitlines()[-_LAST_LINES:])
            raise ImageError(
                f"pip could not install an image's packages:\n  {last}",
                where=", ".join(self.requirements),
                remedy="See whether the package index answers and has wheels for "
                f"Python {self.target.python} on {machine}",
            )


def packages(requirements: tuple[str, ...], target: Target) -> Packages:
    """Packages at the versions that constraints.txt pins.

    Raises ImageError when the file is missing or lacks one of them.
    """
    try:
        constraints = CONSTRAINTS.read_bytes()
    except OSError as error:
        raise ImageError(
            f"the pinned versions cannot be read: {error.strerror}",
            where=str(CONSTRAINTS),
            remedy="Restore the file: git checkout constraints.txt",
        ) from error
    pinned = re.findall(r"^([A-Za-z0-9._-]+)==", constraints.decode(), flags=re.MULTILINE)
    missing = set(requirements) - {name.lower() for name in pinned}
    if missing:
        raise ImageError(
            f"no version is pinned for {', '.join(sorted(missing))}",
            where=str(CONSTRAINTS),
            remedy="Make the file anew: nox -s constraints",
        )
    return Packages(requirements, target, constraints)
