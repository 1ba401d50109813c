"""The worked example of the scenario guide, taken from its text, works as it stands there."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from runtime.components import SERVICE, load_component
from scenarios.files import COMPONENTS, load_scenario

GUIDE = Path(__file__).parents[3] / "docs" / "scenarios.md"


def test_the_worked_example_loads_and_maps(
    tmp_path: Path, component: Callable[[str, str], ModuleType]
) -> None:
    """Its component and scenario load, and the trigger's message passes mapper and action."""
    text = GUIDE.read_text()
    block = {
        language: re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)
        for language in ("json", "python", "toml")
    }
    root = tmp_path / "components"
    shutil.copytree(COMPONENTS, root)
    (root / "orders").mkdir()
    (root / "orders" / "component.json").write_text(block["json"][0])
    (root / "orders" / "orders.py").write_text(block["python"][0])
    (tmp_path / "orders.toml").write_text(block["toml"][0])

    scenario = load_scenario(tmp_path / "orders.toml", root)
    orders: dict[str, object] = {}
    exec(block["python"][0], orders)  # noqa: S102 - the guide's own text
    trigger = orders["process"]
    assert callable(trigger)
    body = {"sequence": 1, "delay_ms": None, "data": "x"}
    message = trigger({"body": body}, scenario.steps[0].config, {})
    mapped = component("mapper", "map").process(message, scenario.steps[1].config, {})
    assert mapped == {"body": {**body, "total": 2.5 * sum(range(20))}}
    assert component("action", "consume").process(mapped, {}, {}) is None


def test_the_guide_lists_the_components_there_are() -> None:
    """Each component of the catalogue stands in its table, with every one of its functions."""
    table = GUIDE.read_text().partition("## The components there are")[2].partition("\n## ")[0]
    listed = dict(re.findall(r"^\| `([a-z-]+)` \| (.*?) \|", table, re.MULTILINE))
    there = {}
    for root in filter(Path.is_dir, COMPONENTS.iterdir()):
        functions = load_component(root).functions.values()
        there[root.name] = ", ".join(
            function.kind if function.kind == SERVICE else f"{function.kind} `{function.name}`"
            for function in functions
        )
    assert listed == there
