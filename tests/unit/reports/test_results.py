"""results.json as a whole."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest

from reports.results import analyse, write_results
from runtime.errors import DataError
from tests.fakes import tiny
from tests.fakes.rundir import Json, Plan, amend, quick_run, write_run

REALTIME = Plan("realtime", "R", messages=10, starts=3)


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A quick run of the whole catalogue."""
    return quick_run(tmp_path_factory.mktemp("quick") / "run")


def test_quick_run(quick: Path) -> None:
    """A quick run has every scenario's figures and nothing missed."""
    results = analyse(quick)
    assert list(results["figures"]) == [
        "realtime",
        "ordinary",
        "warmup",
        "length",
        "volume-and-api",
    ]
    assert [len(s["cells"]) for s in results["figures"].values()] == [1, 1, 1, 4, 9]
    assert {"met", "undecided"} == {claim["verdict"] for claim in results["claims"]}
    assert results["counts"] == {
        "planned_trials": 28, "trials": 28, "valid": 28, "invalid": 0, "failed": 0,
        "messages": 2739,
    }  # fmt: skip
    assert results["problems"] == []


def test_headline_says_what_it_was(quick: Path, tmp_path: Path) -> None:
    """The first line names launcher and broker, and why they are not containers and RabbitMQ."""
    assert analyse(quick)["headline"].startswith("docker containers + RabbitMQ 3.10.8")
    other = write_run(tmp_path, (REALTIME,), launcher="process")
    amend(other / "run.json", lambda r: r.update(
        broker="nats", broker_placement="process", launcher_reason="there is no engine",
        broker_reason="RabbitMQ is not installed",
    ))  # fmt: skip
    headline = analyse(other)["headline"]
    assert headline.startswith("OS processes (no containers: there is no engine) + NATS JetStream")
    assert "(process: RabbitMQ is not installed), quick profile" in headline


def test_analysis_is_a_pure_function(quick: Path) -> None:
    """The same run directory gives the same results, interval ends included."""
    assert analyse(quick) == analyse(quick)


def test_written_results_are_strict_json(quick: Path, tmp_path: Path) -> None:
    """The file holds exactly the results, without NaN, and nothing is left beside it."""
    results = analyse(quick)
    out = tmp_path / "deep" / "results.json"
    write_results(results, out)
    assert results == json.loads(out.read_text(), parse_constant=pytest.fail)
    assert [out] == list(out.parent.iterdir())


def test_unwritable_results(tmp_path: Path) -> None:
    """Where the file cannot be written, the error names it."""
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"results\.json"):
        write_results({}, tmp_path / "file" / "results.json")


def test_timeline_is_one_execution(quick: Path) -> None:
    """The ordinary timeline shows the steps one after another, none overlapping the next."""
    steps = analyse(quick)["timeline"]["ordinary"]
    assert [step["step"] for step in steps] == ["source", "mapper", "action"]
    assert all(a["end_ms"] < b["start_ms"] for a, b in itertools.pairwise(steps))
    assert all(
        s["create_ms"] < s["start_ms"] < s["consuming_ms"] < s["done_ms"] < s["end_ms"]
        for s in steps
    )


def test_killed_run_is_interrupted(tmp_path: Path) -> None:
    """A run that still says it is running was killed; what it measured is in the figures."""
    root = write_run(tmp_path, (REALTIME,))
    amend(root / "run.json", lambda r: r.update(status="running", planned_trials=9))
    results = analyse(root)
    assert (
        results["status"], results["counts"]["valid"], results["counts"]["planned_trials"],
    ) == ("interrupted", 3, 9)  # fmt: skip
    assert results["figures"]["realtime"]["cells"][0]["messages"] == 30


def test_invalid_and_failed_trials_are_in_no_figure(tmp_path: Path) -> None:
    """Trials that are not valid are counted and explained, and left out of every figure."""
    root = write_run(tmp_path, (REALTIME,))
    for index, status in ((1, "invalid"), (2, "failed")):
        file = root / f"trials/{index:04d}/trial.json"
        amend(file, lambda t, s=status: t.update(status=s, reasons=[f"it was {s}"]))  # type: ignore[misc]
    results = analyse(root)
    assert tuple(results["counts"][k] for k in ("valid", "invalid", "failed")) == (1, 1, 1)
    assert results["figures"]["realtime"]["cells"][0]["messages"] == 10
    assert results["problems"] == [
        "trial 1 (realtime): invalid: it was invalid",
        "trial 2 (realtime): failed: it was failed",
    ]


def test_scenario_without_valid_trials_has_no_figures(tmp_path: Path) -> None:
    """A scenario of which nothing is valid is absent from the figures, not empty in them."""
    root = write_run(tmp_path, (REALTIME,))
    for file in root.glob("trials/*/trial.json"):
        amend(file, lambda t: t.update(status="invalid", reasons=["late"]))
    assert analyse(root)["figures"] == {}


def test_lost_by_the_records_alone(tmp_path: Path) -> None:
    """A loss that only the span records show makes the trial invalid, too."""

    def shape(index: int) -> list[Json]:
        lost = tiny.message(2, at_ms=100)[:1] if index == 0 else []
        return [*tiny.message(1), *lost]

    results = analyse(tiny.run(tmp_path, tiny.starts(3, shape)))
    assert results["counts"]["invalid"] == 1
    assert "1 of 2 messages were accepted and then lost" in results["problems"][0]


def test_negative_transits_are_told_once(tmp_path: Path) -> None:
    """However many trials have them, negative transits are one line a scenario."""

    def shape(_: int) -> list[Json]:
        records = tiny.message(1)
        records[3]["t0_ns"] = records[2]["t2_ns"] - 1
        return records

    problems = analyse(tiny.run(tmp_path, tiny.starts(3, shape)))["problems"]
    assert len(problems) == 1
    assert problems[0].startswith("realtime: in 3 of 9 hops")


def test_duplicates_are_told(tmp_path: Path) -> None:
    """A message that was handled twice is a problem that the reader sees."""

    def shape(_: int) -> list[Json]:
        records = tiny.message(1)
        return [*records, records[5]]

    results = analyse(tiny.run(tmp_path, tiny.starts(1, shape)))
    assert "1 messages were handled more than once" in results["problems"][0]
    assert results["figures"]["realtime"]["cells"][0]["accounting"]["duplicated"] == 1


def test_floor_that_moved_is_told(tmp_path: Path) -> None:
    """When the machine became slower during the run, the reader is told by how much."""
    root = write_run(tmp_path, (REALTIME,))

    def slow(run: Json) -> None:
        before = run["floor"]["before"]["broker_hop_ms"]["samples_ns"]
        run["floor"]["after"]["broker_hop_ms"]["samples_ns"] = [2 * ns for ns in before]

    amend(root / "run.json", slow)
    results = analyse(root)
    assert (results["floor"]["moved_ratio"], results["floor"]["moved"]) == (2.0, True)
    assert "took 2.00 \u00d7" in results["problems"][0]


def test_run_without_floor(tmp_path: Path) -> None:
    """Without a floor there are no multiples, and the reason is among the problems."""
    root = write_run(tmp_path, (REALTIME,))
    missing = {"broker_hop_ms": None, "problems": ["the bare hop timed out"]}
    amend(root / "run.json", lambda r: r.update(floor={"before": missing, "after": None}))
    results = analyse(root)
    assert results["figures"]["realtime"]["cells"][0]["floor_multiple"] is None
    assert results["floor"]["moved_ratio"] is None
    assert results["problems"] == ["floor: the bare hop timed out"]
