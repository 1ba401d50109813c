"""Small real runs for tests: a scenario file in a temporary folder, and what to ask of a run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.choice import choose
from bench.request import Request
from bench.session import Progress, Result
from scenarios.files import COMPONENTS, load_scenario
from scenarios.model import Profile, Scenario

DATA = Path(__file__).parents[1] / "data"
MAPPING = 'config.expression = \'{"sequence": sequence, "data": data}\''
QUIET = Progress(phase=lambda _: None, step=lambda _done, _all: None)

SCENARIO = """
name = "broken"
title = "A flow with a step that misbehaves"
flow_type = "realtime"
drain_timeout = "2 s"
[[steps]]
id = "source"
component = "source"
function = "tick"
[[steps]]
id = "middle"
component = "{component}"
function = "{function}"
{config}
[[steps]]
id = "action"
component = "action"
function = "consume"
[load]
arrivals = "constant"
rate = "50/s"
payload = "1 KiB"
[profiles.quick]
starts = 1
messages = 5
"""


def small_scenario(
    tmp_path: Path, component: str, *, function: str = "run", config: str = ""
) -> Scenario:
    """Source, a component of tests/data in the middle, action; five messages of 1 KiB."""
    folder = tmp_path / "scenario"
    folder.mkdir(exist_ok=True)
    link = folder / "components"
    if not link.exists():
        link.symlink_to(DATA / "components")
    path = folder / "broken.toml"
    path.write_text(SCENARIO.format(component=component, function=function, config=config))
    return load_scenario(path)


def healthy(tmp_path: Path, *, messages: int = 5, starts: int = 1) -> Scenario:
    """The same with a mapper that works."""
    scenario = small_scenario(tmp_path, "mapper", function="map", config=MAPPING)
    return replace(scenario, profiles={"quick": Profile(starts=starts, messages=messages)})


def ask(
    out: Path, *scenarios: Scenario, launcher: str = "process", broker: str = "nats"
) -> Request:
    """A request for a quick run with a short floor."""
    return Request(
        scenarios=scenarios,
        claims=(),
        choice=choose(launcher, broker),
        profile="quick",
        seed=1,
        out=out,
        argv=(),
        components_root=COMPONENTS,
        floor_messages=20,
    )


def stored_trial(result: Result, index: int = 1) -> dict[str, Any]:
    """The trial.json of one trial of a run."""
    path = result.folder / "trials" / f"{index:04d}" / "trial.json"
    document: dict[str, Any] = json.loads(path.read_text())
    return document


def reasons(trial: dict[str, Any]) -> list[str]:
    """Why a trial is not valid, but for the load generator's lateness: that is the machine's."""
    return [reason for reason in trial["reasons"] if not reason.startswith("the load generator")]
