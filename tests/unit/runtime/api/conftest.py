"""What the tests of the API share: an app on a store, with two flows' worth of components."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from runtime.api.access import OPERATOR, Access
from runtime.api.app import create_app
from runtime.store import Store
from tests.fakes.control import FakeControl, FakeDoors

ACCESS = Access("secret", "salt")
DEFINITION: dict[str, Any] = {
    "steps": [{"id": "first", "component": "echo", "function": "tick", "config": {"a": 1}}],
    "trigger": {"kind": "webhook"},
    "variables": {"colour": "red"},
}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A new store."""
    with Store.open(tmp_path / "store") as opened:
        yield opened


@pytest.fixture
def echo(tmp_path: Path) -> Path:
    """A component folder."""
    folder = tmp_path / "echo"
    folder.mkdir()
    manifest = {"title": "Echo", "triggers": {"tick": {"main": "echo.py"}}}
    (folder / "component.json").write_text(json.dumps(manifest))
    (folder / "echo.py").write_text("def process(msg, cfg, snapshot):\n    return msg\n")
    return folder


@pytest.fixture
def control(store: Store) -> FakeControl:
    """A control plane without containers."""
    return FakeControl(store)


@pytest.fixture
def doors() -> FakeDoors:
    """The way to a broker that is not there."""
    return FakeDoors()


@pytest.fixture
def app(control: FakeControl, store: Store, doors: FakeDoors) -> Flask:
    """The API over them."""
    return create_app(control, store, doors, ACCESS)


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """Calls the API as its operator."""
    client = app.test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = basic(OPERATOR, ACCESS.password)
    return client


def basic(user: str, password: str) -> str:
    """The value of the header Authorization."""
    import base64

    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.fixture
def flow(store: Store, control: FakeControl, echo: Path) -> str:
    """The name of a flow that runs, with a webhook."""
    store.revisions.deploy(echo)
    control.save_draft("greet", DEFINITION)
    control.publish("greet")
    control.start("greet")
    return "greet"
