"""Loading a component's file."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from runtime.errors import ComponentError
from runtime.worker.component import Context, load

CONTEXT = Context(lambda _event, _payload: None, logging.getLogger("step"), {"name": "value"})


def _write(folder: Path, text: str) -> str:
    (folder / "main.py").write_text(text)
    return str(folder)


def test_three_parameters(tmp_path: Path) -> None:
    """process(msg, cfg, snapshot) is called with just these."""
    root = _write(tmp_path, "def process(msg, cfg, snapshot):\n    return [msg, cfg, snapshot]\n")
    assert load(root, "main.py").process({"a": 1}, {"b": 2}, {}, CONTEXT) == [
        {"a": 1},
        {"b": 2},
        {},
    ]


def test_four_parameters(tmp_path: Path) -> None:
    """process(msg, cfg, snapshot, context) gets the context, with the flow's variables."""
    text = "def process(msg, cfg, snapshot, context):\n    return context.variables['name']\n"
    assert load(_write(tmp_path, text), "main.py").process({}, {}, {}, CONTEXT) == "value"


def test_hooks_are_found_and_not_run(tmp_path: Path) -> None:
    """startup, init and shutdown are there to be called; loading a component calls none."""
    text = (
        "seen = []\ndef init(cfg):\n    seen.append(cfg)\ndef shutdown(cfg, state):\n    pass\n"
        "startup = 'no function'\ndef process(msg, cfg, snapshot):\n    return seen\n"
    )
    loaded = load(_write(tmp_path, text), "main.py")
    assert sorted(loaded.hooks) == ["init", "shutdown"]
    assert loaded.process({}, {}, {}, CONTEXT) == []
    loaded.hooks["init"]("called")
    assert loaded.process({}, {}, {}, CONTEXT) == ["called"]


def test_neighbours_can_be_imported(tmp_path: Path) -> None:
    """A component may be made of several files."""
    (tmp_path / "neighbour_of_main.py").write_text("VALUE = 42\n")
    text = (
        "from neighbour_of_main import VALUE\ndef process(msg, cfg, snapshot):\n    return VALUE\n"
    )
    assert load(_write(tmp_path, text), "main.py").process({}, {}, {}, CONTEXT) == 42


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("def other(): pass\n", "no function process"),
        ("process = 3\n", "no function process"),
        ("def process(a, b): pass\n", "no function process"),
        ("def process(:\n", "SyntaxError"),
        ("import nowhere_to_be_found\n", "ModuleNotFoundError"),
    ],
)
def test_what_is_no_component(tmp_path: Path, text: str, says: str) -> None:
    """The error names the file and what is wrong with it."""
    with pytest.raises(ComponentError, match=says) as raised:
        load(_write(tmp_path, text), "main.py")
    assert str(tmp_path / "main.py") in str(raised.value)


def test_missing_file(tmp_path: Path) -> None:
    """A main file that is not there is named."""
    with pytest.raises(ComponentError, match="not there"):
        load(str(tmp_path), "main.py")
