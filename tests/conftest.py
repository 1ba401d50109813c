"""What all tests share: what they may need of the machine, and that they leave nothing behind.

A test that needs an engine, RabbitMQ, a browser or the right to capture packets says so with a
marker (or a fixture) of that name.
On a laptop that lacks it the test is skipped, with the reason; where ``CI`` is set it fails.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Collection
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from runtime.errors import HopbenchError
from runtime.launch import leftovers, owner

TESTS = Path(__file__).resolve().parent
IN_ONE_LANE = (
    "e2e",
    "integration/test_leftovers.py",
    "integration/test_node.py",
    "integration/test_platform_crash.py",
    "unit/runtime/control",
    "unit/runtime/launch",
    "unit/test_conftest.py",
)
"""Their runs and platforms lose their owners, or remove what any dead owner on the machine has
left: side by side they would find, or miss, each other's.
"""
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
LEFTOVERS = pytest.StashKey[set[str]]()
OWNERS = pytest.StashKey[set[str]]()


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


@cache
def lacks_capture() -> str:
    """Why packets cannot be captured; empty when tcpdump is there and may do so."""
    from tests.wire.capture import obstacle

    with tempfile.TemporaryDirectory() as folder:
        return obstacle(Path(folder))


@cache
def lacks_time_namespace() -> str:
    """Why no process can be given a clock of its own; empty when one can."""
    program = shutil.which("unshare")
    if program is None:
        return "there is no unshare (util-linux)"
    tried = subprocess.run(
        [program, "--time", "--monotonic", "1", "true"], capture_output=True, text=True, check=False
    )
    return tried.stderr.strip() if tried.returncode else ""


NEEDS: dict[str, Callable[[], str]] = {
    "docker": lacks_docker,
    "rabbitmq": lacks_rabbitmq,
    "browser": lacks_browser,
    "capture": lacks_capture,
    "time_namespace": lacks_time_namespace,
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


ENDING_S = 12.0
"""More than a leash's grace and what killing takes after it."""


def left_behind(owners: Collection[str]) -> set[str]:
    """What carries a run's mark and belongs to one of these owners, or to none that lives.

    A run that somebody else has under way on this machine is none of our business.
    """
    found = leftovers.find(lambda holder: holder in owners or owner.is_dead(holder))
    return {str(each) for each in found.leftovers}


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    """Where tests run side by side (pytest-xdist), do so by file, but for those in one lane."""
    from xdist.scheduler import LoadScopeScheduling

    class Lanes(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            return lane(nodeid)

    return Lanes(config, log)


def lane(nodeid: str) -> str:
    """What tests must have in common to run one after another: their file, or a lost owner."""
    path = Path(nodeid.partition("::")[0])
    is_apart = any(path.is_relative_to(TESTS.name + "/" + one) for one in IN_ONE_LANE)
    return "owners" if is_apart else str(path)


def is_lane(config: pytest.Config) -> bool:
    """Whether this process runs a share of the tests for another one."""
    return hasattr(config, "workerinput")


def pytest_sessionstart(session: pytest.Session) -> None:
    """Remember what was left behind before us."""
    owners = session.config.stash[OWNERS] = {owner.this_process()}
    if not is_lane(session.config):
        session.config.stash[LEFTOVERS] = left_behind(owners)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """A lane has ended: what it has left is ours to find."""
    output = getattr(node, "workeroutput", {})  # Not there when it has crashed.
    node.config.stash[OWNERS] |= {output["owner"]} if "owner" in output else set()


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Fail the session when its tests have left anything behind."""
    config: Any = session.config
    if is_lane(config):
        config.workeroutput["owner"] = owner.this_process()
        return
    owners, before = config.stash[OWNERS], config.stash[LEFTOVERS]
    deadline_s = time.monotonic() + ENDING_S
    # A server whose owner was killed is being ended by its leash, which gives it a grace first.
    while (left := left_behind(owners) - before) and time.monotonic() < deadline_s:
        time.sleep(0.2)
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if left and reporter is not None:
        reporter.write_line("")
        reporter.write_line(f"left behind by these tests: {', '.join(sorted(left))}", red=True)
    if left and exitstatus in {pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED}:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
