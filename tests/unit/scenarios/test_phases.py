"""Phases and what is observed: read, and each mistake named with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.errors import ScenarioError
from runtime.model import FlowType
from scenarios.files import CATALOGUE, load_scenario
from scenarios.model import Deed, During, Observe, Phase


def test_phases_and_fields_are_read() -> None:
    """The shipped redeploy scenario, as it stands in its file."""
    scenario = load_scenario(CATALOGUE / "redeploy.toml")
    first, second = scenario.phases
    assert first.before == (Deed.DEPLOY, Deed.DRAFT, Deed.PUBLISH)
    assert first.during == (During(0.8, Deed.DEPLOY), During(1.6, Deed.DRAFT))
    assert second == Phase("relaunched", FlowType.REALTIME, None, 30, (Deed.PUBLISH,))
    assert scenario.observe == Observe(("revision",), ("revision",))


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('do = "draft"', 'do = "publish"', "is unknown; write"),
        ('before = ["publish"]', 'before = ["publsh"]', "did you mean 'publish'?"),
        ('"deploy", "draft", "publish"]', '"deploy", "draft"]', "nothing to start"),
        ('revised = ["revision"]', 'revised = ["revisions"]', "did you mean 'revision'?"),
        ('after = "800 ms"', 'after = "800"', "is not a duration"),
        ("[load]", "[vary]\ncontainers = [3, 5]\n[load]", "cannot be combined with [vary]"),
        ('name = "first"', "", "phases[0].name: is missing"),
    ],
)
def test_each_mistake_is_named(tmp_path: Path, old: str, new: str, says: str) -> None:
    """With the file and the line."""
    text = (CATALOGUE / "redeploy.toml").read_text()
    assert old in text
    path = tmp_path / "wrong.toml"
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(ScenarioError) as caught:
        load_scenario(path)
    assert says in str(caught.value)
    assert f"{path}:" in str(caught.value)
