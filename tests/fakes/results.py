"""Results of a whole quick run on Docker and RabbitMQ, and of runs that are only part of one."""

from __future__ import annotations

import copy
import functools
import json
import tempfile
from pathlib import Path
from typing import Any

from reports.results import analyse
from tests.fakes.rundir import amend, quick_run

Json = dict[str, Any]

RUN = "runs/20261124-031500-000001"


@functools.cache
def _text() -> str:
    with tempfile.TemporaryDirectory() as folder:
        results = analyse(_planted(quick_run(Path(folder) / "run")))
    return json.dumps(results | {"generated_from": RUN})


def _planted(run: Path) -> Path:
    """Let one claim of the run be missed, and one of its trials late."""

    def lower(content: Json) -> None:
        target = next(claim["target"] for claim in content["claims"] if claim["id"] == "S13")
        target["limit"] = 200.0

    amend(run / "run.json", lower)
    late = next(
        file for file in sorted(run.glob("trials/*/trial.json"))
        if json.loads(file.read_text())["scenario"] == "warmup"
    )  # fmt: skip
    reason = (
        "the load generator was late by 61.2 ms "
        "(no interval: fewer than 3 starts; 1 start, 40 messages) at p99"
    )
    amend(late, lambda trial: trial.update(status="invalid", reasons=[reason]))
    return run


def full() -> Json:
    """Every scenario, all 25 claims, nothing missing; a copy of its own for each caller."""
    loaded: Json = json.loads(_text())
    return loaded


def only(*scenarios: str) -> Json:
    """As if only these scenarios had been run."""
    results = full()
    results["figures"] = {name: results["figures"][name] for name in scenarios}
    if "ordinary" not in scenarios:
        results["timeline"] = {}
    return results


def one_start() -> Json:
    """As if each cell had one start: no interval anywhere."""
    results = full()
    _drop_intervals(results["figures"])
    for claim in results["claims"]:
        claim["low"] = claim["high"] = None
    return results


def no_values() -> Json:
    """As if nothing could be computed of what was measured: every statistic is null."""
    results = full()
    _drop_values(results["figures"])
    return results


def nothing_valid() -> Json:
    """Every trial failed: no figures, no floor after, every claim undecided."""
    results = full()
    results |= {
        "status": "failed",
        "figures": {},
        "timeline": {},
        "floor": {"before": results["floor"]["before"], "after": None, "moved_ratio": None},
        "problems": ["the broker went away. Look at its log"],
        "counts": {
            "planned_trials": 28, "trials": 1, "valid": 0, "invalid": 0, "failed": 1, "messages": 0,
        },
    }  # fmt: skip
    for claim in results["claims"]:
        claim |= {"verdict": "undecided", "value": None, "low": None, "high": None}
        claim["reason"] = "nothing valid was measured"
    return results


def empty() -> Json:
    """What is left of a run that failed before its first trial."""
    return {
        "format": 1, "run_id": "20261124-031500-ab12cd", "generated_from": "run",
        "status": "failed", "headline": "docker containers + RabbitMQ", "environment": {},
        "counts": {
            "planned_trials": 5, "trials": 0, "valid": 0, "invalid": 0, "failed": 0, "messages": 0,
        },
        "claims": [], "figures": {}, "floor": {"before": None, "after": None, "moved_ratio": None},
        "timeline": {}, "problems": [],
    }  # fmt: skip


def processes() -> Json:
    """The embedded case: OS processes and NATS, claims about containers undecided."""
    results = full()
    results["headline"] = "OS processes (not isolated) + NATS 2.10.22, 2 cores, quick profile"
    results["environment"] |= {
        "launcher": "process", "launcher_reason": "no container engine answers",
        "isolates": False, "broker": "nats", "broker_version": "2.10.22",
        "broker_reason": "no RabbitMQ is installed", "broker_placement": "process",
        "engine": None, "cgroup": None,
    }  # fmt: skip
    for claim in results["claims"]:
        if claim["id"] in {"S1", "S4", "S5", "S9"}:
            claim |= {"verdict": "undecided", "reason": "steps ran as processes, not containers"}
    return results


def hostile(text: str) -> Json:
    """Every text that can come from a user, a component or a message is ``text``."""
    results = full()
    changed: Json = _retold(copy.deepcopy(results), text)
    figures = {
        f"{text}{index}": scenario for index, scenario in enumerate(changed["figures"].values())
    }
    changed["figures"] = figures
    for claim in changed["claims"]:
        claim["scenario"] = f"{text}0"
    return changed


_KEPT = {"unit", "verdict", "flow_type", "class", "of", "phase", "status", "per"}


def _retold(value: Any, text: str, key: str = "") -> Any:
    if isinstance(value, dict):
        return {name: _retold(inner, text, name) for name, inner in value.items()}
    if isinstance(value, list):
        return [_retold(inner, text, key) for inner in value]
    return text if isinstance(value, str) and key not in _KEPT else value


def _drop_intervals(value: Any) -> None:
    if isinstance(value, list):
        for inner in value:
            _drop_intervals(inner)
    elif isinstance(value, dict):
        for key, inner in value.items():
            if key in {"low", "high"} or key.endswith(("_low", "_high")):
                value[key] = None
            elif key == "starts" and isinstance(inner, int):
                value[key] = 1
            else:
                _drop_intervals(inner)


def _drop_values(value: Any) -> None:
    if isinstance(value, list):
        for inner in value:
            _drop_values(inner)
    elif isinstance(value, dict):
        for key, inner in value.items():
            if isinstance(inner, float) and key not in {"containers", "payload_bytes"}:
                value[key] = None
            else:
                _drop_values(inner)
