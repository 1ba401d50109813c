"""Loads a component's file the way a worker does: by its path, as a module of its own."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from runtime.components import load_component
from scenarios.files import COMPONENTS

MISBEHAVING = Path(__file__).parents[2] / "data" / "components"


@pytest.fixture
def component() -> Callable[[str, str], ModuleType]:
    """A fresh module of a component's function, from the catalogue's or the tests' own folder."""

    def load(name: str, function: str) -> ModuleType:
        root = COMPONENTS if (COMPONENTS / name).is_dir() else MISBEHAVING
        main = load_component(root / name).functions[function].main
        spec = importlib.util.spec_from_file_location(f"component_{name}", root / name / main)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load
