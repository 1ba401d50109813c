"""What all tests share: what they may need of the machine, and that they leave nothing behind.

A test that needs an engine, RabbitMQ or a browser says so with a marker or a fixture of that name.
On a laptop that lacks it the test is skipped, with the reason; where ``CI`` is set it fails.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from runtime.errors import HopbenchError
from runtime.launch import owner

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
LEFTOVERS = pytest.StashKey[set[str]]()


@cache
def lacks_docker() -> str:
    """Why there is no container engine to use; empty when there is one."""
    from runtime.launch import engine

    try:
        engine.connect().close()
    except HopbenchError as error:
        return str(error)
    return ""


@cache
def lacks_rabbitmq() -> str:
    """Why there is no RabbitMQ to start; empty when it is installed."""
    from runtime.broker import node

    try:
        node.find_server()
    except HopbenchError as error:
        return str(error)
    return ""


@cache
def browser_path() -> str | None:
    """The browser's program, None when there is none."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


def lacks_browser() -> str:
    """Why there is no browser; empty when there is one."""
    return "" if browser_path() else f"none of {', '.join(BROWSERS)} is installed"


NEEDS: dict[str, Callable[[], str]] = {
    "docker": lacks_docker,
    "rabbitmq": lacks_rabbitmq,
    "browser": lacks_browser,
}


def in_ci() -> bool:
    """Whether a missing part of the machine is a failure."""
    return os.environ.get("CI", "").lower() in {"1", "true", "yes"}


def require(need: str) -> None:
    """Skip the test, or fail it in CI, when the machine lacks what it needs."""
    reason = NEEDS[need]()
    if reason and in_ci():
        pytest.fail(f"CI must have {need}: {reason}", pytrace=False)
    if reason:
        pytest.skip(f"needs {need}: {reason}")


@pytest.fixture
def require_docker() -> None:
    """For tests that use a container engine."""
    require("docker")


@pytest.fixture
def require_rabbitmq() -> None:
    """For tests that start an installed RabbitMQ."""
    require("rabbitmq")


@pytest.fixture
def require_browser() -> str:
    """For tests that open a page; gives the path of the browser's program."""
    require("browser")
    path = browser_path()
    assert path is not None
    return path


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Apply the policy to the markers, before any fixture starts something."""
    for need in NEEDS:
        if item.get_closest_marker(need):
            require(need)


def marked_processes() -> Iterator[tuple[str, str]]:
    """Name and owner of each process that carries the mark of a run."""
    mark = f"{owner.OWNER}=".encode()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            variables = (folder / "environ").read_bytes().split(b"\0")
            name = (folder / "comm").read_text().strip()
        except OSError:
            continue  # ended meanwhile, or another user's
        for variable in variables:
            if variable.startswith(mark):
                yield f"process {folder.name} ({name})", variable[len(mark) :].decode()


def marked_in_engine() -> Iterator[tuple[str, str]]:
    """Name and owner of each container and network that carries the mark of a run."""
    if lacks_docker():
        return
    from runtime.launch import engine

    client = engine.connect()
    try:
        marked = {"label": owner.RUN_LABEL}
        for container in client.containers(all=True, filters=marked):
            name = f"container {container['Names'][0]}"
            yield name, container["Labels"].get(owner.OWNER_LABEL, "")
        for network in client.networks(filters=marked):
            yield f"network {network['Name']}", network["Labels"].get(owner.OWNER_LABEL, "")
    finally:
        client.close()


def ours_or_orphaned() -> set[str]:
    """What carries a run's mark and belongs to this process, or to none that lives.

    A run that somebody else has under way on this machine is none of our business.
    """
    us = owner.this_process()
    return {
        name
        for marked in (marked_processes(), marked_in_engine())
        for name, holder in marked
        if holder == us or owner.is_dead(holder)
    }


def pytest_sessionstart(session: pytest.Session) -> None:
    """Remember what was left behind before us."""
    session.stash[LEFTOVERS] = ours_or_orphaned()


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Fail the session when its tests have left anything behind."""
    before = session.stash[LEFTOVERS]
    left = ours_or_orphaned() - before
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if left and reporter is not None:
        reporter.write_line("")
        reporter.write_line(f"left behind by these tests: {', '.join(sorted(left))}", red=True)
    if left and exitstatus in {pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED}:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
