"""What this machine has of the things that a run needs: facts only, without a verdict.

Looking changes nothing and starts nothing.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
import sysconfig
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import cgroups, environment
from runtime.broker.node import find_server
from runtime.errors import BrokerUnavailable, EngineUnavailable, LaunchError

REGISTRY_TIMEOUT_S = 5
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@dataclass(frozen=True, slots=True)
class Engine:
    """The container engine. ``problem`` is why it cannot be used, None when it can.

    ``base`` is the image that ours are built on, ``base_from`` where it can be had: ``local``,
    ``registry``, or None. ``images``: what has been built.
    """

    version: str | None = None
    api: str | None = None
    problem: str | None = None
    remedy: str = ""
    denied: bool = False
    base: str = ""
    base_from: str | None = None
    images: tuple[str, ...] = ()

    @property
    def usable(self) -> bool:
        """Whether it answers us."""
        return self.problem is None


@dataclass(frozen=True, slots=True)
class Machine:
    """The facts. A path or version is None where the thing is not there."""

    system: str = "Linux"
    python: tuple[int, int, int] = (3, 11, 0)
    packages: Mapping[str, str | None] = field(default_factory=dict)
    engine: Engine = field(default_factory=Engine)
    rabbitmq: str | None = None
    nats_server: str | None = None
    browser: str | None = None
    tcpdump: str | None = None
    py_spy: str | None = None
    cgroup: str | None = None
    cores: int = 1
    governor: str | None = None
    load_1min: float = 0.0
    disk_free_bytes: int = 0
    clock_source: str | None = None
    leftovers: tuple[str, ...] = ()


def required_packages(root: Path = environment.ROOT) -> tuple[str, ...]:
    """The packages that pyproject.toml says hopbench runs on."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    requirements = project["project"]["dependencies"]
    return tuple(
        re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0] for requirement in requirements
    )


def look_at_engine() -> Engine:
    """Ask the container engine what it is and which images it has."""
    from runtime.launch import engine

    try:
        client = engine.connect()
    except EngineUnavailable as error:
        return Engine(problem=error.what, remedy=error.remedy, denied="may not" in error.what)
    try:
        with engine.calling("ask for its version"):
            version = client.version()
        with engine.calling("list the images"):
            tags = {tag for image in client.images() for tag in image.get("RepoTags") or ()}
        base, base_from = find_base(client, tags)
    except LaunchError as error:
        return Engine(problem=error.what, remedy=error.remedy)
    finally:
        client.close()
    return Engine(
        version=version["Version"],
        api=version["ApiVersion"],
        base=base,
        base_from=base_from,
        images=tuple(sorted(t for t in tags if t.startswith("hopbench/") and t != base)),
    )


def find_base(client: Any, tags: set[str]) -> tuple[str, str | None]:
    """The base image that would be built on, and where it can be had."""
    from runtime.images.build import LOCAL_BASE, PYTHON_BASE, SETTING
    from runtime.launch import engine

    setting = os.environ.get(SETTING) or "auto"
    wanted = {
        "auto": (LOCAL_BASE, PYTHON_BASE),
        "local": (LOCAL_BASE,),
        "pull": (PYTHON_BASE,),
    }.get(setting, (setting,))
    for reference in wanted:
        if reference in tags:
            return reference, "local"
    if setting == "local":
        return LOCAL_BASE, None
    client.timeout = REGISTRY_TIMEOUT_S
    try:
        # Asks the registry for the manifest; nothing is pulled.
        with engine.calling("ask the registry"):
            client.inspect_distribution(wanted[-1])
    except LaunchError:
        return wanted[-1], None
    return wanted[-1], "registry"


def program(name: str) -> str | None:
    """Where a program is: beside this Python, where pip puts it, or on PATH."""
    return shutil.which(name, path=sysconfig.get_path("scripts")) or shutil.which(name)


def first_line(path: str) -> str | None:
    """A file's first line; None when it cannot be read."""
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()[0].strip()
    except (OSError, IndexError):
        return None


def installed_rabbitmq() -> str | None:
    """The version of RabbitMQ that a private node can be started from."""
    try:
        return find_server()[1]
    except BrokerUnavailable:
        return None


def look(folder: Path | None = None) -> Machine:
    """Look at this machine; ``folder`` is where runs are written. Takes up to a few seconds."""
    return Machine(
        system=platform.system(),
        python=sys.version_info[:3],
        packages=environment.package_versions(required_packages()),
        engine=look_at_engine(),
        rabbitmq=installed_rabbitmq(),
        nats_server=program("nats-server"),
        browser=next(filter(None, map(program, BROWSERS)), None),
        tcpdump=program("tcpdump"),
        py_spy=program("py-spy"),
        cgroup=cgroups.version(),
        cores=environment.cores(),
        governor=first_line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        load_1min=os.getloadavg()[0],
        disk_free_bytes=shutil.disk_usage(folder or environment.ROOT).free,
        clock_source=first_line("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
        leftovers=leftovers(),
    )


def leftovers() -> tuple[str, ...]:
    """What runs that were killed have left behind."""
    from runtime.launch.leftovers import find

    return tuple(str(each) for each in find().leftovers)
