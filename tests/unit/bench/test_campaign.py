"""A pass through a scenario's phases: its store, its deeds, and what goes wrong with them."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from bench.agenda import plan_trials
from bench.campaign import Campaign, Campaigns
from bench.outcome import Plan
from bench.stage import Stage
from runtime.clock import now_ns
from runtime.errors import ComponentError, FlowError
from runtime.launch import Image
from runtime.model import Revision
from scenarios.files import CATALOGUE, COMPONENTS, load_scenario
from scenarios.model import Deed, During, Scenario


def prepare(revision: Revision) -> Image:
    """An image that is only its digest."""
    return cast("Image", revision.digest)


def stage(folder: Path, components: Path = COMPONENTS) -> Stage:
    """As much of a stage as a campaign uses."""
    launcher = SimpleNamespace(prepare=prepare)
    made = SimpleNamespace(launcher=launcher, components_root=components, folder=folder)
    return cast("Stage", made)


def plans(scenario: Scenario) -> tuple[Plan, ...]:
    """The phases of one pass."""
    return plan_trials((scenario,), "quick", 1)[: len(scenario.phases)]


@pytest.fixture
def redeploy() -> Scenario:
    """The shipped scenario."""
    return load_scenario(CATALOGUE / "redeploy.toml")


@pytest.fixture
def campaign(tmp_path: Path, redeploy: Scenario) -> Iterator[Campaign]:
    """A pass through it that has just been opened."""
    made = Campaign(stage(tmp_path), redeploy, tmp_path)
    yield made
    made.close()


def test_a_start_runs_what_the_published_version_has_pinned(
    campaign: Campaign, redeploy: Scenario
) -> None:
    """A deploy and a draft change nothing of it; the publish does."""
    first, second = plans(redeploy)
    flow, pinned, images = campaign.ready(first)
    assert flow.digest() == redeploy.flow().digest()
    soon = tuple(During(0.0, one.deed) for one in redeploy.phases[0].during)
    phases = (replace(redeploy.phases[0], during=soon), redeploy.phases[1])
    now = replace(first, scenario=replace(redeploy, phases=phases))
    with campaign.running(), campaign.during(now, now_ns()) as problems:
        deadline = time.monotonic() + 30.0
        while len(campaign.deeds) < 5 and time.monotonic() < deadline:
            time.sleep(0.01)
    assert problems == []
    deeds = [(one["deed"], one["revisions"].get("revision")) for one in campaign.deeds]
    assert deeds == [("deploy", 1), ("draft", 1), ("publish", 1), ("deploy", 2), ("draft", 2)]
    _, again, others = campaign.ready(second)
    assert again["revision"].digest != pinned["revision"].digest
    assert again["mapper"].digest == pinned["mapper"].digest
    assert others["mapper"] == images["mapper"]
    assert others["revision"] != images["revision"]


def test_what_was_not_due_in_time_is_a_problem(campaign: Campaign, redeploy: Scenario) -> None:
    """The load ended before it: what the phase is to show was not done."""
    first, _ = plans(redeploy)
    campaign.ready(first)
    with campaign.during(first, now_ns()) as problems:
        pass
    assert problems == ["the load ended before deploy was due"]


def test_a_phase_that_nobody_switched_to(tmp_path: Path) -> None:
    """It says what is missing, and where."""
    scenario = load_scenario(CATALOGUE / "switch.toml")
    phases = (scenario.phases[0], replace(scenario.phases[1], before=(Deed.DRAFT,)))
    scenario = replace(scenario, phases=phases)
    first, second = plans(scenario)
    campaigns = Campaigns(stage(tmp_path))
    campaign = campaigns.of(first)
    assert campaign is campaigns.of(second)
    assert campaign is not None
    campaign.ready(first)
    with pytest.raises(FlowError, match="'realtime' needs a published realtime flow; it is ordi"):
        campaign.ready(second)
    campaigns.close()


def test_a_component_without_the_line_is_refused(tmp_path: Path, redeploy: Scenario) -> None:
    """A revision that would be the same as the one before shows nothing."""
    root = tmp_path / "components"
    shutil.copytree(COMPONENTS, root, ignore=shutil.ignore_patterns("__pycache__"))
    code = root / "revision" / "revision.py"
    code.write_text(code.read_text().replace("REVISION = 1", "REVISION = int(1)"))
    campaign = Campaign(stage(tmp_path, root), redeploy, tmp_path)
    with pytest.raises(ComponentError, match="has 0 lines REVISION"):
        campaign.ready(plans(redeploy)[0])
    campaign.close()
