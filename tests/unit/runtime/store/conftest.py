"""What the tests of the store share: a store, and component folders that are made on the spot."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runtime.flows import Definition
from runtime.model import Step
from runtime.store import Store
from tests.fakes.store import Clock

Make = Callable[..., Path]


@pytest.fixture
def clock() -> Clock:
    """A clock that moves by a second when it is asked."""
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Iterator[Store]:
    """A new store."""
    with Store.open(tmp_path / "store", now=clock) as opened:
        yield opened


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Makes a component folder, or writes its code anew."""

    def made(name: str, code: str = "1", **files: str) -> Path:
        folder = tmp_path / "components" / name
        folder.mkdir(parents=True, exist_ok=True)
        functions = {"go": {"main": "main.py"}}
        manifest = {"title": name, "triggers": functions, "actions": {"do": {"main": "main.py"}}}
        (folder / "component.json").write_text(json.dumps(manifest))
        (folder / "main.py").write_text(f"VALUE = {code}\n")
        for file, text in files.items():
            (folder / file).write_text(text)
        return folder

    return made


@pytest.fixture
def two_steps(store: Store, make: Make) -> Definition:
    """A definition of two steps, whose components have been deployed once."""
    for name in ("one", "two"):
        store.revisions.deploy(make(name))
    return Definition((Step("first", "one", "go"), Step("second", "two", "do", {"n": 1})))
