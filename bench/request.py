"""What a run was asked for, and how ``run.json`` says it before the first trial."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.adaptive import Adaptive
from bench.agenda import Agenda, Fixed, InTurn, plan_trials
from bench.choice import Choice
from bench.precision import Wish, least_trials
from bench.probing import Judge, Searching
from bench.stage import Stage
from runtime.clock import clock_id
from runtime.errors import InputError, MeasurementError
from runtime.model import FlowType
from scenarios.faults import fault_document
from scenarios.model import Claim, Scenario

FLOOR_MESSAGES = 200


@dataclass(frozen=True, slots=True)
class Request:
    """What the user asked for, checked. Without a wish, the profile says how many trials.

    ``direct`` is called before the trials, for what is measured without a scenario; ``certificate``
    is that of the meter which the run is made with, to be kept beside it. ``judge`` says what a
    search's trials found; only scenarios with a search need it.
    """

    scenarios: tuple[Scenario, ...]
    claims: tuple[Claim, ...]
    choice: Choice
    profile: str
    seed: int
    out: Path
    argv: tuple[str, ...]
    components_root: Path
    floor_messages: int = FLOOR_MESSAGES
    wish: Wish | None = None
    direct: Callable[[Stage], None] | None = None
    certificate: Mapping[str, Any] | None = None
    judge: Judge | None = None

    def agenda(self) -> Agenda:
        """The trials to make; searches first. Raises InputError where a budget cannot hold any."""
        searches = tuple(one for one in self.scenarios if one.search is not None)
        rest = tuple(one for one in self.scenarios if one.search is None)
        if not searches:
            return self._planned(rest)
        if self.judge is None:
            raise MeasurementError(
                f"nothing says what the trials of {searches[0].name} find",
                where="the run's request",
                remedy="Give it a judge",
            )
        if self.wish is not None and not rest:
            raise _imprecise(searches)
        searching = Searching(searches, self.seed, self.judge, self.out)
        return InTurn(searching, self._planned(rest)) if rest else searching

    def _planned(self, scenarios: tuple[Scenario, ...]) -> Agenda:
        if self.wish is None:
            return Fixed(plan_trials(scenarios, self.profile, self.seed))
        # What shows an event instead of a figure needs no more starts for more precision.
        events = tuple(one for one in scenarios if one.phases or one.unprompted)
        figures = tuple(one for one in scenarios if one not in events)
        if not figures:
            raise _imprecise(events)
        adaptive = Adaptive(figures, self.profile, self.seed, self.wish, self.out)
        if not events:
            return adaptive
        return InTurn(Fixed(plan_trials(events, self.profile, self.seed)), adaptive)


def _imprecise(scenarios: tuple[Scenario, ...]) -> InputError:
    return InputError(
        f"no figure of {', '.join(one.name for one in scenarios)} becomes more precise with "
        "more trials",
        remedy="Leave out --precision and --budget, or add a scenario with a latency",
    )


def head(request: Request, run_id: str, agenda: Agenda) -> dict[str, Any]:
    """The members of run.json that are known before the first trial."""
    choice = request.choice
    return {
        "run_id": run_id,
        "created": now(),
        "seed": request.seed,
        "profile": request.profile,
        "argv": list(request.argv),
        "launcher": choice.launcher,
        "launcher_reason": choice.launcher_reason,
        "isolates": choice.launcher == "docker",
        "broker": choice.broker,
        "broker_reason": choice.broker_reason,
        "broker_placement": choice.placement,
        "flow_types": [str(kind) for kind in FlowType],
        "clock_id": clock_id(),
        "environment": {},
        "broker_configuration": {"persistent": False, "confirms": True, "prefetch": 1},
        "scenarios": [_scenario(scenario, request) for scenario in request.scenarios],
        "claims": [_claim(claim) for claim in request.claims],
        "planned_trials": agenda.planned,
        **agenda.members(),
    }


def _scenario(scenario: Scenario, request: Request) -> dict[str, Any]:
    load, amount = scenario.load, scenario.profiles[request.profile]
    starts = amount.starts
    events = scenario.phases or scenario.unprompted or scenario.search
    if request.wish is not None and not events:
        starts = least_trials(scenario, request.profile, request.wish)
    return {
        "name": scenario.name,
        "title": scenario.title,
        "flow_type": str(scenario.flow_type),
        "digest": scenario.flow().digest(),
        "steps": [
            {"id": step.id, "component": step.component, "function": step.function}
            for step in scenario.steps
        ],
        "load": {
            "arrivals": str(load.arrivals),
            "rate_hz": load.rate_hz,
            "messages": amount.messages,
            "payload_bytes": load.payload_bytes,
            "loop": str(load.loop),
            "processes": load.processes,
        },
        "faults": [fault_document(fault) for fault in scenario.faults],
        "message_cells": [asdict(cell) for cell in scenario.message_cells()],
        "start_cells": list(scenario.start_cells()),
        "phases": [
            {
                "name": phase.name,
                "flow_type": str(phase.flow_type),
                "rate_hz": phase.rate_hz or load.rate_hz,
            }
            for phase in scenario.phases
        ],
        "search": None if scenario.search is None else asdict(scenario.search),
        "observe": list(scenario.observe.fields),
        "unprompted": scenario.unprompted,
        "starts": starts,
    }


def _claim(claim: Claim) -> dict[str, Any]:
    return {
        "id": claim.id,
        "statement": claim.statement,
        "metric": claim.metric,
        "scenario": claim.scenario,
        "needs_containers": claim.needs_containers,
        "parameters": dict(claim.parameters),
        "target": asdict(claim.target) if claim.target is not None else None,
    }


def now() -> str:
    """The wall clock, as run.json has it."""
    return datetime.now(UTC).isoformat(timespec="seconds")
