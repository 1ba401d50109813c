"""Both modes on real containers and a real RabbitMQ: what only containers can show."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import docker
import pytest

from bench.choice import choose
from bench.session import Progress, run
from runtime.errors import EngineUnavailable, HopbenchError
from runtime.model import FlowType, Limits
from scenarios.files import CATALOGUE, load_scenario
from scenarios.model import Profile, Scenario
from tests.fakes.runs import QUIET, ask, healthy, reasons, small_scenario, stored_trial

pytestmark = pytest.mark.docker


def _left(folder: Path) -> list[str]:
    run_id = json.loads((folder / "run.json").read_text())["run_id"]
    client = docker.DockerClient()
    try:
        label = f"hopbench.run={run_id}"
        containers = client.containers.list(all=True, filters={"label": label})
        networks = client.networks.list(filters={"label": label})
        return [str(one.id) for one in (*containers, *networks)]
    finally:
        client.close()


def _containers(out: Path, scenario: Scenario) -> dict[str, Any]:
    result = run(ask(out, scenario, launcher="docker", broker="rabbitmq"), QUIET)
    assert _left(out) == []
    return stored_trial(result)


def test_realtime_keeps_its_containers(tmp_path: Path) -> None:
    """Three steps, three containers: the same before and after the messages, all told apart."""
    trial = _containers(tmp_path / "run", healthy(tmp_path, messages=20))
    assert reasons(trial) == []
    assert trial["accounting"]["handled"] == 20
    assert trial["alive_before"] == trial["alive_after"]
    assert len(set(trial["alive_before"])) == trial["starts_seen"] == 3
    starts = [e["instance_id"] for e in trial["engine_events"] if e["action"] == "start"]
    assert sorted(starts) == sorted(trial["alive_before"])


def test_realtime_steps_talk_to_the_broker_only(tmp_path: Path) -> None:
    """Each container's own tables show one connection to the broker, and none to another."""
    trial = _containers(tmp_path / "run", healthy(tmp_path))
    outside = [one for one in trial["connections"] if one["kind"] != "self"]
    assert [(one["step"], one["kind"]) for one in outside] == [
        (0, "broker"),
        (1, "broker"),
        (2, "broker"),
    ]


def test_ordinary_never_has_two_containers_alive(tmp_path: Path) -> None:
    """From the engine's own events: one container at any instant, first to last, new each time."""
    scenario = replace(healthy(tmp_path, messages=2), flow_type=FlowType.ORDINARY)
    trial = _containers(tmp_path / "run", scenario)
    assert reasons(trial) == []
    alive: set[str] = set()
    order, most = [], 0
    for event in trial["engine_events"]:
        if event["action"] == "start":
            alive.add(event["instance_id"])
            order.append(event["step"])
        elif event["action"] == "die":
            alive.discard(event["instance_id"])
        most = max(most, len(alive))
    assert (most, order, alive) == (1, [0, 1, 2, 0, 1, 2], set())
    assert len({instance["id"] for instance in trial["instances"]}) == 6


def test_service_on_the_flows_network(tmp_path: Path) -> None:
    """The catalogue's HTTP scenario: every cell is measured, the API is a declared connection."""
    scenario = load_scenario(CATALOGUE / "volume-and-api.toml")
    scenario = replace(scenario, profiles={"quick": Profile(starts=1, messages=1)})
    trial = _containers(tmp_path / "run", scenario)
    assert reasons(trial) == []
    assert trial["accounting"]["handled"] == len(trial["message_cells"]) == 12
    kinds = {one["kind"] for one in trial["connections"] if one["step"] == 2}
    assert {"broker", "service"} <= kinds
    assert "other" not in kinds


def test_out_of_memory_is_named(tmp_path: Path) -> None:
    """A step over its memory limit is reported as such, with its step and its limit."""
    scenario = small_scenario(tmp_path, "hog")
    limits = Limits(memory_bytes=64 * 1024 * 1024)
    steps = tuple(
        replace(step, limits=limits) if step.id == "middle" else step for step in scenario.steps
    )
    trial = _containers(tmp_path / "run", replace(scenario, steps=steps))
    assert trial["status"] == "failed"
    text = "; ".join(trial["reasons"])
    assert "out of memory" in text
    assert "'middle'" in text
    assert "64 MiB" in text
    assert [i["step_id"] for i in trial["instances"] if i["oom_killed"]] == ["middle"]


def test_a_broker_container_that_dies(tmp_path: Path) -> None:
    """The run says that the broker went away; the trial before is kept, nothing is left."""
    out = tmp_path / "run"

    def kill_broker(done: int, _all: int) -> None:
        if done == 1:
            run_id = json.loads((out / "run.json").read_text())["run_id"]
            client = docker.DockerClient()
            label = f"hopbench.run={run_id}"
            for container in client.containers.list(filters={"label": label, "name": "broker"}):
                container.kill()
            client.close()

    scenario = healthy(tmp_path, messages=20, starts=2)
    with pytest.raises(HopbenchError, match=r"(?i)broker|rabbitmq"):
        run(
            ask(out, scenario, launcher="docker", broker="rabbitmq"),
            Progress(phase=lambda _: None, step=kill_broker),
        )
    document = json.loads((out / "run.json").read_text())
    assert document["status"] == "failed"
    assert document["trials"][0]["status"] in {"valid", "invalid"}
    assert _left(out) == []


def test_an_engine_that_is_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Asked for containers where there is no engine: an error that says what to do, no fallback."""
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no.sock")
    with pytest.raises(EngineUnavailable, match=r"--launcher process|provision"):
        choose("docker", "auto")
