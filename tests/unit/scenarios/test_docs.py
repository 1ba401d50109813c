"""The worked example of the scenario guide, taken from its text, works as it stands there."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

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
