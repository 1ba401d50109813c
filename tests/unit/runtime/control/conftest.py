"""What the tests of the control plane share: a platform on a broker and a launcher in memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from runtime.control import collector, left, retrying, runner
from runtime.launch import Launcher
from tests.fakes.flow_parts import MemoryLauncher, MemoryServer
from tests.fakes.platforms import World

CONNECTING = (left, retrying, runner)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> MemoryServer:
    """A broker in memory that everything here connects to."""
    made = MemoryServer()
    for module in CONNECTING:
        monkeypatch.setattr(module, "connect", made.connect)
    monkeypatch.setattr("runtime.platform.connect", made.connect)
    monkeypatch.setattr("tests.fakes.platforms.connect", made.connect)
    monkeypatch.setattr(collector, "_POLL_S", 0.0)
    return made


@pytest.fixture
def launcher() -> MemoryLauncher:
    """A launcher whose containers do nothing."""
    return MemoryLauncher()


@pytest.fixture
def world(tmp_path: Path, server: MemoryServer, launcher: MemoryLauncher) -> Iterator[World]:
    """A platform on both, with one component."""
    assert server.is_up
    opened = World(tmp_path / "world", cast("Launcher", launcher), "memory://")
    opened.component("pass")
    yield opened
    server.is_up = True
    opened.close()
