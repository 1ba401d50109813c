"""What the meter certificate measures: the scenarios of ``scenarios/certify`` and their variants.

A certificate is made from an ordinary run. Its scenario files each stand for one kind of check;
the variants that must be equal in all but one respect are made from them here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bench import meter
from bench.choice import Choice, without_password
from bench.environment import ROOT
from bench.request import Request
from bench.stage import Stage
from scenarios.files import COMPONENTS, load_catalogue
from scenarios.model import Freeze, Loop, Scenario

FOLDER = ROOT / "scenarios" / "certify"
FLOOR_MESSAGES = 100
QUICK_FREEZE = 1 / 3
"""What a freeze, and the load around it, is scaled by in the quick profile."""


def certificate_request(
    choice: Choice, *, seed: int, out: Path, quick: bool, argv: Sequence[str]
) -> Request:
    """The run that a certificate is made from. Raises ScenarioError."""

    def direct(stage: Stage) -> None:
        folder = stage.folder / "meter"
        folder.mkdir()
        meter.write(meter.measure(stage, folder, seed, quick=quick), out)

    return Request(
        scenarios=certificate_scenarios(COMPONENTS, quick=quick),
        claims=(),
        choice=choice,
        profile="quick" if quick else "full",
        seed=seed,
        out=out,
        argv=tuple(map(without_password, argv)),
        components_root=COMPONENTS,
        floor_messages=FLOOR_MESSAGES,
        direct=direct,
    )


def certificate_scenarios(components_root: Path, *, quick: bool) -> tuple[Scenario, ...]:
    """Everything that is run for a certificate. Raises ScenarioError."""
    found = load_catalogue(FOLDER, components_root)
    return (
        found["component-delay"],
        found["network-delay"],
        *loops(shortened(found["freeze"]) if quick else found["freeze"]),
        *twice(found["same"]),
    )


def loops(scenario: Scenario) -> tuple[Scenario, ...]:
    """The scenario with an open and with a closed loop."""
    return tuple(
        replace(
            scenario,
            name=f"{scenario.name}-{loop}",
            title=f"{scenario.title}: {loop} loop",
            load=replace(scenario.load, loop=loop),
        )
        for loop in Loop
    )


def twice(scenario: Scenario) -> tuple[Scenario, ...]:
    """The scenario as A and as B."""
    return tuple(
        replace(scenario, name=f"{scenario.name}-{which}", title=f"{scenario.title}: {which}")
        for which in ("a", "b")
    )


def shortened(scenario: Scenario) -> Scenario:
    """The scenario with its freezes scaled to the load of its quick profile."""
    faults = tuple(
        replace(fault, after_s=fault.after_s * QUICK_FREEZE, for_s=fault.for_s * QUICK_FREEZE)
        for fault in scenario.faults
        if isinstance(fault, Freeze)
    )
    return replace(scenario, faults=faults)
