"""How a flow answers to a step that is made slow: planted answers are recovered and named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reports.results import analyse
from runtime.spans import EMIT, PROCESS
from tests.fakes import tiny
from tests.fakes.rundir import MS, Json, Plan, describe, store

DELAYS = (0.0, 20.0)
CELLS = [
    {"payload_bytes": 1024, "api_delay_ms": None, "delayed_step": step, "injected_delay_ms": ms}
    for step in ("source", "mapper", "action")
    for ms in DELAYS
]
STEPS = ("source", "mapper", "action")


def later(records: tiny.Records, step: int, delay_ms: float, *, hop: bool = False) -> None:
    """Delay ``process`` of a step, or (``hop``) its input; and all that comes after it."""
    moved = round(delay_ms * MS)
    for record in records:
        first = 0 if hop else 2
        if record["kind"] == PROCESS and record["step"] >= step:
            begin = first if record["step"] == step else 0
            for i in range(begin, 4):
                record[f"t{i}_ns"] += moved
        if record["kind"] == EMIT and record["step"] >= step:
            for i in range(1, 4):
                record[f"t{i}_ns"] += moved


def a_run(
    root: Path, *, starts: int = 4, also: float = 0.0, payloads: tuple[int, ...] = (1024,)
) -> Json:
    """A run with a delay of each step in turn; ``also``: ms that the next hop grows per ms.

    Messages of each start are 1 ms slower than those of the start before, those of the second
    payload 300 ms slower than those of the first, and rounds of the cells differ by chance.
    """
    rng = np.random.default_rng(1)
    cells = [cell | {"payload_bytes": size} for size in payloads for cell in CELLS]
    plan = Plan("sensitivity", "Delays", messages=10, starts=starts)
    made = []
    for start in range(starts):
        records: tiny.Records = []
        for trace in range(1, 20 * len(cells) + 1):
            index = (trace * 7) % len(cells)
            cell = cells[index]
            one = tiny.message(trace, at_ms=500.0 * trace, first=trace == 1, cell=index)
            step = STEPS.index(str(cell["delayed_step"]))
            delay_ms = float(str(cell["injected_delay_ms"]))
            later(one, step, delay_ms)
            for k in range(3):
                noise_ms = start + float(rng.normal(0, 0.05))
                large = 100.0 if cell["payload_bytes"] != payloads[0] else 0.0
                grown = also * delay_ms if k == step + 1 else 0.0
                later(one, k, noise_ms + large + grown, hop=True)
            records += one
        trial = tiny.trial(records, index=start + 1, plan=plan)
        trial.meta["message_cells"] = cells
        made.append(trial)
    run = describe((plan,), made)
    run["scenarios"][0]["message_cells"] = cells
    return analyse(store(root, run, made))


def answers(results: Json) -> dict[str, dict[str, Any]]:
    """For each delayed step, what answers by kind and name."""
    return {
        entry["step"]: {f"{one['kind']} {one['name']}": one for one in entry["responses"]}
        for entry in results["figures"]["sensitivity"]["sensitivity"]
    }


def test_the_flow_answers_one_to_one(tmp_path: Path) -> None:
    """The execution and the step's own process grow with the delay, and nothing else does."""
    results = a_run(tmp_path)
    found = answers(results)
    assert list(found) == ["source", "mapper", "action"]
    for step, own in found.items():
        assert len(own) == 7
        for name, one in own.items():
            expected = 1.0 if name in {"execution end to end", f"process {step}"} else 0.0
            assert one["expected"] == expected
            assert one["slope"]["value"] == pytest.approx(expected, abs=0.003)
            assert one["slope"]["unit"] == "ms/ms"
            assert one["slope"]["starts"] == 4
            assert one["verdict"] == "alike"
    words = [entry["words"] for entry in results["figures"]["sensitivity"]["sensitivity"]]
    assert words[1].startswith("each ms that mapper takes longer makes an execution as much longer")


def test_only_messages_of_that_step_and_undelayed_ones_count(tmp_path: Path) -> None:
    """Of six cells of 20 messages, four are fitted: three without a delay, and the delayed one."""
    found = answers(a_run(tmp_path))
    for own in found.values():
        # One execution of each start is cold.
        assert own["execution end to end"]["slope"]["messages"] in {4 * 79, 4 * 80}


def test_a_hop_that_answers_is_named_with_its_slope(tmp_path: Path) -> None:
    """The hop after the slow step grows by 0.12 ms per ms: said of both hops, and of the whole."""
    results = a_run(tmp_path, also=0.12)
    mapper = next(
        entry
        for entry in results["figures"]["sensitivity"]["sensitivity"]
        if entry["step"] == "mapper"
    )
    assert mapper["verdict"] == "deviates"
    assert "a slower mapper also makes hop mapper → action slower: 0.12" in mapper["words"]
    assert "makes the whole execution slower by 1.12" in mapper["words"]
    assert "source → mapper" not in mapper["words"]


def test_what_else_is_varied_does_not_blur_the_slope(tmp_path: Path) -> None:
    """A second payload that takes 300 ms longer leaves the slopes, and their intervals, as is."""
    own = answers(a_run(tmp_path, payloads=(1024, 65_536)))["mapper"]["execution end to end"]
    assert own["slope"]["value"] == pytest.approx(1.0, abs=0.003)
    assert own["slope"]["high"] - own["slope"]["low"] < 0.02


def test_two_starts_leave_it_undecided(tmp_path: Path) -> None:
    """Without an interval nothing is as expected, and nothing deviates."""
    results = a_run(tmp_path, starts=2, also=0.5)
    entries = results["figures"]["sensitivity"]["sensitivity"]
    assert {entry["verdict"] for entry in entries} == {"undecided"}
    assert all(one["slope"]["low"] is None for entry in entries for one in entry["responses"])


def test_a_scenario_without_delays_has_no_sensitivity(tmp_path: Path) -> None:
    """The key is null then."""
    results = analyse(tiny.run(tmp_path, tiny.starts(3, lambda _: tiny.message(1))))
    assert results["figures"]["realtime"]["sensitivity"] is None
