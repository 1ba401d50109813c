"""Every claim's verdict can be each of the three, for the right reason."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reports.claims import JUDGES
from reports.results import analyse
from tests.fakes import tiny
from tests.fakes.claims import CLAIMS
from tests.fakes.rundir import Json, Plan, S, amend, write_run

REALTIME = Plan("realtime", "R", messages=20, starts=3)
ORDINARY = Plan("ordinary", "O", "ordinary", rate_hz=0.5, messages=2, starts=2)
LENGTH = Plan("length", "L", containers=(2, 4), messages=10, starts=3)
SWEEP = Plan("sweep", "V", steps=("source", "call", "action"), rate_hz=20.0, messages=10, starts=3,
             delays=(10.0, 200.0))  # fmt: skip
Change = Callable[[Json], object]


class Run:
    """A stored run with one claim, to be changed and judged."""

    def __init__(self, root: Path, plans: tuple[Plan, ...]) -> None:
        self.root = write_run(root, plans)

    def ask(self, metric: str, scenario: str, **more: Any) -> Run:
        """Make this the only claim."""
        amend(self.root / "run.json", lambda r: tiny.only_claim(r, metric, scenario, **more))
        return self

    def run(self, **values: Any) -> Run:
        """Change members of run.json."""
        amend(self.root / "run.json", lambda r: r.update(values))
        return self

    def trials(self, change: Change, *, only: int | None = None) -> Run:
        """Change every trial, or one."""
        for file in sorted(self.root.glob("trials/*/trial.json")):
            if only is None or file.parent.name == f"{only:04d}":
                amend(file, change)
        return self

    @property
    def claim(self) -> Json:
        """The claim as judged."""
        (found,) = analyse(self.root)["claims"]
        return dict(found)

    def assert_is(self, verdict: str, reason: str) -> None:
        """Assert the verdict, and that the reason says this."""
        found = self.claim
        assert (verdict, True) == (found["verdict"], reason in found["reason"]), found["reason"]


@pytest.fixture
def realtime(tmp_path: Path) -> Run:
    """A run of a realtime scenario."""
    return Run(tmp_path / "realtime", (REALTIME,))


@pytest.fixture
def ordinary(tmp_path: Path) -> Run:
    """A run of an ordinary scenario."""
    return Run(tmp_path / "ordinary", (ORDINARY,))


@pytest.fixture
def both(tmp_path: Path) -> Run:
    """A run of one flow in both modes."""
    return Run(tmp_path / "both", (REALTIME, ORDINARY))


def invalid(trial: Json) -> None:
    """Let a trial be invalid."""
    trial.update(status="invalid", reasons=["rate not reached"])


def failed(trial: Json) -> None:
    """Let a trial have failed."""
    trial.update(status="failed", reasons=["a step exited"])


# -- what forbids any verdict --------------------------------------------------------------------


@pytest.mark.parametrize("metric", ["not_measured", "happiness"])
def test_unknown_metric(realtime: Run, metric: str) -> None:
    """A metric that nothing measures is undecided."""
    realtime.ask(metric, "realtime").assert_is(
        "undecided", "not measured by this version's catalogue"
    )


def test_scenario_not_in_run(realtime: Run) -> None:
    """A claim about another scenario is undecided, and the scenario is named."""
    realtime.ask("hop_mean_ms", "ordinary", limit=15.0).assert_is(
        "undecided", "scenario ordinary was not"
    )


def test_containers_needed(tmp_path: Path) -> None:
    """On OS processes, claims about containers are undecided, never met."""
    root = write_run(tmp_path, (REALTIME, ORDINARY), launcher="process")
    about = {claim["id"] for claim in CLAIMS if claim["needs_containers"]}
    measured = {
        claim["id"] for claim in analyse(root)["claims"] if "was not in" not in claim["reason"]
    }
    found = [claim for claim in analyse(root)["claims"] if claim["id"] in about & measured]
    assert {"S1", "S2", "S4", "S5", "S6", "S7", "S8", "S9", "S11"} == {c["id"] for c in found}
    assert {"undecided"} == {claim["verdict"] for claim in found}
    for claim in found:
        assert claim["reason"].startswith("steps were OS processes; the claim is about containers")


def test_figures_of_processes_are_shown(realtime: Run) -> None:
    """A hop between processes is shown with the claim about containers, and decides nothing."""
    asked = realtime.ask("hop_mean_ms", "realtime", limit=15.0, needs_containers=True)
    asked.assert_is("met", "mean hop")
    asked.run(launcher="process", isolates=False).assert_is("undecided", "As processes: mean hop")
    assert asked.claim["low"] <= asked.claim["value"] <= asked.claim["high"] < asked.claim["limit"]


@pytest.mark.parametrize("metric", sorted(JUDGES))
def test_a_closed_loop_decides_nothing(both: Run, metric: str) -> None:
    """A load that waits for the flow hides what it is slow in: no metric is decided by it."""
    both.ask(metric, "realtime", limit=15.0, ordinary="ordinary", realtime="realtime")
    amend(both.root / "run.json", lambda r: r["scenarios"][0]["load"].update(loop="closed"))
    both.assert_is("undecided", "the load of scenario realtime is a closed loop")


def test_a_closed_loop_beside_the_one_that_is_asked_for(both: Run) -> None:
    """A claim that rests on two scenarios is open when the other one's load is a closed loop."""
    both.ask("break_even_rate", "ordinary", ordinary="ordinary", realtime="realtime")
    amend(both.root / "run.json", lambda r: r["scenarios"][0]["load"].update(loop="closed"))
    both.assert_is("undecided", "the load of scenario realtime is a closed loop")


@pytest.mark.parametrize(("change", "word"), [(invalid, "rate not reached"), (failed, "exited")])
def test_no_valid_trial(realtime: Run, change: Change, word: str) -> None:
    """Without a valid trial a claim is undecided, with the trials' own reason."""
    realtime.ask("hop_mean_ms", "realtime", limit=15.0).trials(change).assert_is("undecided", word)


def test_lost_messages_make_a_trial_invalid(realtime: Run) -> None:
    """A trial that lost a message is invalid, whatever its status says."""

    def lose(trial: Json) -> None:
        trial["accounting"]["lost"] = 1

    realtime.ask("hop_mean_ms", "realtime", limit=15.0).trials(lose).assert_is("undecided", "lost")


def test_two_clocks_make_a_trial_invalid(realtime: Run) -> None:
    """Spans of two clocks are never subtracted: the trial is invalid."""
    realtime.ask("hop_mean_ms", "realtime", limit=15.0)
    realtime.trials(lambda t: t.update(clock_ids_seen=["another"])).assert_is("undecided", "clocks")


def test_run_that_ended_early_is_not_met(tmp_path: Path) -> None:
    """Three of five planned starts make an interval, but stopping there may have been a choice."""
    run = Run(tmp_path, (REALTIME,)).ask("hop_mean_ms", "realtime", limit=15.0)
    run.assert_is("met", "3 starts")
    amend(run.root / "run.json", lambda r: r["scenarios"][0].update(starts=5))
    run.run(status="interrupted").assert_is("undecided", "3 of 5 trials")


def test_run_that_ended_early_can_miss(realtime: Run) -> None:
    """A miss that was measured stands, whether or not the run went on."""
    realtime.ask("hop_mean_ms", "realtime", limit=0.01).run(status="interrupted")
    amend(realtime.root / "run.json", lambda r: r["scenarios"][0].update(starts=5))
    realtime.assert_is("missed", "mean hop")


# -- observations ----------------------------------------------------------------------------------


def test_distinct_step_containers(realtime: Run) -> None:
    """S1: different ids; one shared id misses; a step without a container leaves it open."""
    realtime.ask("distinct_step_containers", "realtime").assert_is("met", "9 different ids")
    realtime.trials(lambda t: t["instances"][0].update(id="same"), only=1)
    realtime.trials(lambda t: t["instances"][1].update(id="same"), only=1)
    realtime.assert_is("missed", "only 8 different")
    realtime.trials(lambda t: t["instances"].pop(), only=1)
    realtime.assert_is("undecided", "no container was recorded for step [2]")


def test_distinct_step_containers_of_executions(ordinary: Run) -> None:
    """S1 in an ordinary flow: every execution's step has a container of its own."""
    ordinary.ask("distinct_step_containers", "ordinary").assert_is("met", "12 different ids")


def test_undeclared_connections(realtime: Run) -> None:
    """S2: broker, services and itself are fine; another end misses; unseen steps leave it open."""
    realtime.ask("undeclared_connections", "realtime", limit=0.0, unit="connections")
    realtime.trials(lambda t: t["connections"].append(
        {"step": 0, "host": "127.0.0.1", "port": 40001, "kind": "self"}))  # fmt: skip
    realtime.assert_is("met", "all 9 connections")
    realtime.trials(lambda t: t["connections"].pop(0), only=2).assert_is("undecided", "of source")
    other = {"step": 1, "host": "172.18.0.7", "port": 9000, "kind": "other"}
    realtime.trials(lambda t: t["connections"].append(other), only=1)
    realtime.assert_is("missed", "mapper to 172.18.0.7:9000")
    assert realtime.claim["value"] == 1.0
    realtime.trials(lambda t: t.update(connections=[])).assert_is(
        "undecided", "no connections were"
    )


def test_flow_types(realtime: Run) -> None:
    """S3: exactly the two types; a third, or a missing one, misses; without trials it is open."""
    realtime.ask("flow_types", "realtime").assert_is("met", "ordinary, realtime")
    realtime.run(flow_types=["ordinary", "realtime", "batch"]).assert_is("missed", "batch")
    realtime.run(flow_types=["realtime"]).assert_is("missed", "realtime")
    realtime.trials(invalid).assert_is("undecided", "rate not reached")


def test_ordinary_start_order(ordinary: Run) -> None:
    """S4: ascending start instants; a swap misses; a missing instant leaves it open."""
    ordinary.ask("ordinary_start_order", "ordinary").assert_is("met", "all 4 executions")
    ordinary.trials(lambda t: t["instances"][1].update(engine_start_ns=None), only=1)
    ordinary.assert_is("undecided", "missing in 1 of 4")
    ordinary.trials(lambda t: t["instances"][3].update(engine_start_ns=10**15), only=1)
    ordinary.assert_is("missed", "order [1, 2, 0]")


def test_ordinary_max_alive(ordinary: Run) -> None:
    """S5: never two at once, as the engine saw it; an overlap misses; lost events leave it open."""
    ordinary.ask("ordinary_max_alive", "ordinary", limit=1.0, unit="containers")
    ordinary.assert_is("met", "at most 1 at any instant")

    def forget_starts(trial: Json) -> None:
        trial["engine_events"] = [e for e in trial["engine_events"] if e["action"] != "start"]

    def forget_an_end(trial: Json) -> None:
        ends = [e for e in trial["engine_events"] if e["action"] == "die"]
        trial["engine_events"].remove(ends[0])

    ordinary.trials(forget_starts, only=2).assert_is("undecided", "missing for 6 containers")
    ordinary.trials(forget_an_end, only=1).assert_is(
        "missed", "2 step containers were alive at once"
    )
    assert ordinary.claim["value"] == 2.0


def test_start_and_end_at_one_instant_overlap(ordinary: Run) -> None:
    """S5: when a start and the previous end have one and the same instant, doubt misses."""

    def touch(trial: Json) -> None:
        events = trial["engine_events"]
        start = [e for e in events if e["action"] == "start"][1]
        next(e for e in events if e["action"] == "die").update(at_ns=start["at_ns"])

    ordinary.ask("ordinary_max_alive", "ordinary", limit=1.0).trials(touch, only=1)
    ordinary.assert_is("missed", "2 step containers")


def test_container_count(realtime: Run) -> None:
    """S6: exactly three; more or fewer misses; none recorded leaves it open."""
    realtime.ask("container_count", "realtime", limit=3.0, unit="containers")
    realtime.assert_is("met", "3 containers in each of 3 starts")
    realtime.trials(lambda t: t["instances"].pop(), only=1).assert_is("missed", "had 2 containers")
    realtime.trials(lambda t: t.update(instances=[])).assert_is("undecided", "no containers")


def test_kept_containers(realtime: Run) -> None:
    """S9: same ids before and after; a new one misses; unseen ones leave it open."""
    realtime.ask("kept_containers", "realtime").assert_is("met", "in 3 starts")
    realtime.trials(lambda t: t.update(alive_before=[], alive_after=[]), only=1)
    realtime.assert_is("undecided", "1 of 3 valid starts")
    realtime.trials(lambda t: t["alive_after"].__setitem__(0, "new"), only=2)
    realtime.assert_is("missed", "1 containers went and 1 came")


def test_kept_containers_counts_starts(realtime: Run) -> None:
    """S9: a fourth start in a flow of three steps is a restart."""
    realtime.ask("kept_containers", "realtime").trials(lambda t: t.update(starts_seen=4), only=1)
    realtime.assert_is("missed", "4 starts for 3 steps")


def test_uptime(realtime: Run) -> None:
    """S22: long enough is met; too short is open; a step that ended by itself misses."""
    realtime.ask("uptime_s", "realtime", needed_s=0.5).assert_is("met", "ran until stopped")
    realtime.ask("uptime_s", "realtime", needed_s=3600.0).assert_is(
        "undecided", "3600 s are needed"
    )
    assert realtime.claim["value"] > 0.5

    def die(trial: Json) -> None:
        failed(trial)
        trial["instances"][1].update(signal=None, exit_code=137, oom_killed=True)

    realtime.trials(die, only=2).assert_is("missed", "mapper (exit code 137, out of memory) ended")


# -- figures ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("limit", "verdict"), [(180.0, "met"), (1.0, "missed")])
def test_execution(ordinary: Run, limit: float, verdict: str) -> None:
    """S7: the mean execution in seconds against its limit, with where its time goes."""
    ordinary.ask("execution_s", "ordinary", limit=limit, unit="s")
    ordinary.assert_is(verdict, "inside the components")
    assert ordinary.claim["value"] == pytest.approx(1.2, abs=0.1)


def test_execution_needs_three(tmp_path: Path) -> None:
    """S7: two executions have no interval."""
    plan = Plan("ordinary", "O", "ordinary", rate_hz=0.5, messages=2, starts=1)
    run = Run(tmp_path, (plan,)).ask("execution_s", "ordinary", limit=180.0, unit="s")
    run.assert_is("undecided", "fewer than 3 starts decide nothing")


def test_break_even_rate(both: Run) -> None:
    """S8: true below the break-even rates, false above them; each verdict is possible."""
    ask = {"unit": "/min", "upper": False}
    both.ask("break_even_rate", "ordinary", **ask, limit=1 / 60).assert_is("met", "up to")
    both.ask("break_even_rate", "ordinary", **ask, limit=100_000.0).assert_is("missed", "up to")
    rate = both.claim["value"]
    both.ask("break_even_rate", "ordinary", **ask, limit=rate).assert_is("undecided", "up to")

    def without_ordinary(trial: Json) -> None:
        if trial["scenario"] == "ordinary":
            invalid(trial)

    both.trials(without_ordinary).assert_is("undecided", "rate not reached")


def test_end_to_end_quantile(tmp_path: Path) -> None:
    """S10: a p99 needs a thousand warm messages; then it is on one side of the limit or other."""
    short = Run(tmp_path / "short", (REALTIME,))
    short.ask("end_to_end_ms", "realtime", limit=1000.0, quantile=0.99)
    short.assert_is("undecided", "from 57 warm messages; 1000 are needed")
    plan = Plan("realtime", "R", messages=400, starts=3)
    enough = Run(tmp_path / "enough", (plan,))
    enough.ask("end_to_end_ms", "realtime", limit=1000.0, quantile=0.99).assert_is("met", "p99")
    enough.ask("end_to_end_ms", "realtime", limit=0.5, quantile=0.99).assert_is("missed", "p99")


@pytest.mark.parametrize(
    ("limit", "verdict"), [(15.0, "met"), (0.1, "missed"), (None, "undecided")]
)
def test_hop_mean(realtime: Run, limit: float | None, verdict: str) -> None:
    """S11: the mean hop's interval against the limit; on the figure itself it is undecided."""
    realtime.ask("hop_mean_ms", "realtime", limit=15.0)
    own = limit if limit is not None else realtime.claim["value"]
    realtime.ask("hop_mean_ms", "realtime", limit=own).assert_is(verdict, "mean hop")


def test_hop_mean_needs_three_starts(tmp_path: Path) -> None:
    """S11: two starts never make it met, however fast they were."""
    plan = Plan("realtime", "R", messages=50, starts=2)
    Run(tmp_path, (plan,)).ask("hop_mean_ms", "realtime", limit=15.0).assert_is(
        "undecided", "3 starts"
    )


def test_overhead_per_hop(tmp_path: Path) -> None:
    """S12: every length's overhead a hop; the worst decides; a missing length leaves it open."""
    run = Run(tmp_path, (LENGTH,))
    run.ask("overhead_per_hop_ms", "length", limit=15.0, containers=4, expected_ms=45.0)
    run.assert_is("met", "where the platform says 45")
    run.assert_is("met", "the cost of a hop becomes")
    run.ask("overhead_per_hop_ms", "length", limit=0.1).assert_is("missed", "4: ")
    run.ask("overhead_per_hop_ms", "length", limit=15.0)

    def without_two(trial: Json) -> None:
        if len(trial["steps"]) == 2:
            invalid(trial)

    run.trials(without_two).assert_is("undecided", "[2] containers have no valid start")


def test_execution_band(tmp_path: Path) -> None:
    """S13: the upper edge decides, faster is named; each verdict is possible."""
    run = Run(tmp_path, (SWEEP,)).ask("execution_band_ms", "sweep", limit=400.0)
    run.assert_is("met", "1 of 1 cells")
    run.assert_is("met", "Faster than the band's 100 ms")
    run.ask("execution_band_ms", "sweep", limit=150.0).assert_is("missed", "API 200 ms")
    run.assert_is("missed", "Above the band")
    run.ask("execution_band_ms", "sweep", limit=400.0, api_low_ms=300.0)
    run.assert_is("undecided", "no cell has an API time of 300 to 350 ms")


@pytest.mark.parametrize(("limit", "verdict"), [(60.0, "met"), (0.1, "missed")])
def test_warm_up(realtime: Run, limit: float, verdict: str) -> None:
    """S19: from the flow's start to the last step's first message, with the first message's own."""
    realtime.ask("warm_up_s", "realtime", limit=limit, unit="s").assert_is(
        verdict, "the first message"
    )


def test_warm_up_not_seen(realtime: Run) -> None:
    """S19: a last step whose first message was not seen leaves it open."""
    realtime.ask("warm_up_s", "realtime", limit=60.0, unit="s")
    realtime.trials(lambda t: t["instances"][-1].update(first_message_ns=None))
    realtime.assert_is("undecided", "mean warm-up was not measured")


def test_slowest_warm_execution(tmp_path: Path) -> None:
    """S20: one slow warm execution misses; a slow cold one does not; two starts are too few."""

    def shape(index: int) -> list[Json]:
        slow = tiny.message(1, first=True)
        slow[-1]["t2_ns"] += 2 * S
        slow[-1]["t3_ns"] += 2 * S
        return [*slow, *tiny.message(2, at_ms=5000)]

    def ask(root: Path, limit: float) -> Json:
        amend(root / "run.json", lambda r: tiny.only_claim(
            r, "warm_end_to_end_max_ms", "realtime", limit=limit))  # fmt: skip
        return dict(analyse(root)["claims"][0])

    three = tiny.run(tmp_path / "three", tiny.starts(3, shape))
    assert (ask(three, 1000.0)["verdict"], ask(three, 1000.0)["value"]) == ("met", 50.0)
    assert ask(three, 49.0)["verdict"] == "missed"
    two = tiny.run(tmp_path / "two", tiny.starts(2, shape))
    assert ask(two, 1000.0)["verdict"] == "undecided"


# -- the catalogue ---------------------------------------------------------------------------------


def test_every_metric_of_the_catalogue_is_known() -> None:
    """The catalogue names no metric that nothing decides, and all of ours are used."""
    named = {claim["metric"] for claim in CLAIMS} - {"not_measured"}
    assert set(JUDGES) == named


@pytest.mark.parametrize("metric", sorted(JUDGES))
def test_no_metric_is_met_without_data(tmp_path: Path, metric: str) -> None:
    """Whatever the metric: when every trial is invalid, it is not met."""
    run = Run(tmp_path, (REALTIME, ORDINARY, LENGTH)).trials(invalid)
    for scenario in ("realtime", "ordinary", "length"):
        assert run.ask(metric, scenario, limit=10.0**9).claim["verdict"] != "met"


@pytest.mark.parametrize("metric", sorted(JUDGES))
def test_no_metric_breaks_without_a_target(tmp_path: Path, metric: str) -> None:
    """Whatever the metric: a claim without a limit is judged or left open, not an error."""
    run = Run(tmp_path, (REALTIME, ORDINARY))
    found = run.ask(metric, "ordinary").claim
    assert found["verdict"] in {"met", "missed", "undecided"}
    assert found["reason"]
