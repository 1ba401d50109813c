"""The meter certificate, on runs whose meter is right, and on runs with a planted defect."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reports.certificate import certify
from reports.shown import Shown
from runtime.errors import FormatError
from runtime.spans import EMIT, PROCESS, SEND
from tests.fakes.certificate import WAIT, Spans, certificate_run, of_step
from tests.fakes.rundir import MS, amend

Json = dict[str, Any]
CHECKS = (
    "component-delays", "network-delays", "freeze", "a-against-a", "probe-overhead", "clocks",
    "conservation",
)  # fmt: skip


def verdicts(certificate: Json) -> dict[str, str]:
    """Each check's verdict by its id."""
    return {check["id"]: check["verdict"] for check in certificate["checks"]}


def check(certificate: Json, name: str) -> Json:
    """One check."""
    found: Json = next(one for one in certificate["checks"] if one["id"] == name)
    return found


def rejected(certificate: Json) -> set[str]:
    """The checks that are not shown; the certificate must not be valid."""
    assert certificate["valid"] is False
    return {name for name, verdict in verdicts(certificate).items() if verdict == "not shown"}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose meter is right; not to be changed."""
    return certificate_run(tmp_path_factory.mktemp("certificate") / "run")


def test_right_meter_is_certified(sound: Path) -> None:
    """Every check of a right meter is shown, and the certificate is valid."""
    certificate = certify(sound)
    assert verdicts(certificate) == dict.fromkeys(CHECKS, "shown"), certificate["checks"]
    assert (certificate["valid"], certificate["verdict"], certificate["doubts"]) == (
        True, "shown", [],
    )  # fmt: skip


def test_certificate_is_a_pure_function(sound: Path) -> None:
    """The same directory gives the same certificate, and it is JSON without NaN."""
    first, second = (json.dumps(certify(sound), allow_nan=False) for _ in range(2))
    assert first == second


def test_delays_are_recovered_where_they_are(sound: Path) -> None:
    """Each delay is found to 0.1 ms in the component and in either hop, twice in the whole."""
    certificate = certify(sound)
    component = check(certificate, "component-delays")["rows"]
    network = check(certificate, "network-delays")["rows"]
    assert (len(component), len(network)) == (8, 20)
    for row in (*component, *network):
        error = row["error"]
        assert abs(error["value"]) < 0.1, row
        assert error["low"] <= error["value"] <= error["high"]
        assert error["starts"] == 4
    assert [row["expected_ms"] for row in network if "twice" in row["label"]] == [2, 10, 20, 100]


def test_freeze_is_seconds_corrected_and_hidden_by_the_closed_loop(sound: Path) -> None:
    """6 of 30 s: both loops show 3 s corrected; the closed one shows milliseconds uncorrected."""
    rows = {row["loop"]: row for row in check(certify(sound), "freeze")["rows"]}
    for loop in ("open", "closed"):
        assert 2900 < rows[loop]["predicted_ms"] < 3100
        assert 2900 < rows[loop]["corrected"]["value"] < 4500
    assert rows["open"]["uncorrected"]["value"] > 2900
    assert rows["closed"]["uncorrected"]["value"] < 10


@pytest.mark.parametrize(
    ("missing", "undecided"),
    [
        ("component-delay", "component-delays"),
        ("network-delay", "network-delays"),
        ("freeze-closed", "freeze"),
        ("same-b", "a-against-a"),
    ],
)
def test_what_was_not_measured_is_undecided(tmp_path: Path, missing: str, undecided: str) -> None:
    """Without one of its scenarios a check is undecided, and the certificate not valid."""
    certificate = certify(certificate_run(tmp_path / "run", without=[missing]))
    assert verdicts(certificate) == dict.fromkeys(CHECKS, "shown") | {undecided: "undecided"}
    assert (certificate["valid"], certificate["verdict"]) == (False, "undecided")


def test_direct_checks_that_were_not_made_are_undecided(tmp_path: Path) -> None:
    """Without meter.json neither overhead nor clocks are shown."""
    run = certificate_run(tmp_path / "run")
    (run / "meter.json").unlink()
    certificate = certify(run)
    assert verdicts(certificate)["probe-overhead"] == verdicts(certificate)["clocks"] == "undecided"
    assert certificate["valid"] is False


def test_two_starts_decide_nothing(tmp_path: Path) -> None:
    """Where delays were measured in fewer than three starts, their figures are undecided."""
    run = certificate_run(tmp_path / "run")
    spoilt = 0
    for path in sorted(run.glob("trials/*/trial.json")):
        trial = json.loads(path.read_text())
        if trial["scenario"] == "network-delay" and spoilt < 2:
            trial |= {"status": "invalid", "reasons": ["the load generator was late"]}
            path.write_text(json.dumps(trial))
            spoilt += 1
    certificate = certify(run)
    rows = check(certificate, "network-delays")["rows"]
    assert {row["verdict"] for row in rows} == {"undecided"}
    assert certificate["verdict"] == "undecided"


def test_halved_transit_is_found(tmp_path: Path) -> None:
    """A meter that shows half of each transit recovers half of each network delay."""

    def halve(_scenario: str, spans: Spans) -> None:
        for step in (WAIT, WAIT + 1):
            inputs = of_step(spans, step, PROCESS)
            sent = dict(
                zip(spans["message"][spans["kind"] == EMIT], spans["t2_ns"][spans["kind"] == EMIT],
                    strict=True)
            )  # fmt: skip
            handed = np.array([sent[m] for m in spans["message"][inputs]])
            spans["t0_ns"][inputs] = (spans["t0_ns"][inputs] + handed) // 2

    certificate = certify(certificate_run(tmp_path / "run", plant=halve))
    assert rejected(certificate) == {"network-delays"}


def test_scaled_time_is_found(tmp_path: Path) -> None:
    """A component time that is 5 % too short is wrong by more than 3 % and 0.3 ms at 50 ms."""

    def shrink(scenario: str, spans: Spans) -> None:
        if scenario == "component-delay":
            inputs = of_step(spans, WAIT, PROCESS)
            took = spans["t2_ns"][inputs] - spans["t1_ns"][inputs]
            spans["t1_ns"][inputs] += took // 20

    certificate = certify(certificate_run(tmp_path / "run", plant=shrink))
    rows = check(certificate, "component-delays")["rows"]
    wrong = {(row["delay_ms"], row["label"]) for row in rows if row["verdict"] == "not shown"}
    assert rejected(certificate) == {"component-delays"}
    assert wrong == {(10.0, "component time"), (50.0, "component time")}


def test_clock_that_is_off_is_found(tmp_path: Path) -> None:
    """One step's clock 1 ms ahead: what it emits is delivered before, and nothing adds up."""

    def ahead(_scenario: str, spans: Spans) -> None:
        rows = of_step(spans, WAIT)
        for name in ("t0_ns", "t1_ns", "t2_ns", "t3_ns"):
            spans[name][rows & (spans[name] != 0)] += MS

    certificate = certify(certificate_run(tmp_path / "run", plant=ahead))
    assert "conservation" in rejected(certificate)
    assert certificate["doubts"]


def test_generator_that_lies_about_its_intentions_is_found(tmp_path: Path) -> None:
    """Intended instants that are really the actual ones make the closed loop's freeze vanish."""

    def lie(scenario: str, spans: Spans) -> None:
        if scenario == "freeze-closed":
            sends = spans["kind"] == SEND
            spans["t0_ns"][sends] = spans["t1_ns"][sends]

    certificate = certify(certificate_run(tmp_path / "run", plant=lie))
    assert rejected(certificate) == {"freeze"}
    reason = {row["loop"]: row["reason"] for row in check(certificate, "freeze")["rows"]}["closed"]
    assert "the system moves them" in reason


def test_generator_that_shifts_its_intentions_is_found(tmp_path: Path) -> None:
    """An even schedule that is said to be later than it was: sends before they were intended."""

    def shift(scenario: str, spans: Spans) -> None:
        if scenario == "freeze-closed":
            sends = spans["kind"] == SEND
            spans["t0_ns"][sends] += 2_000 * MS

    certificate = certify(certificate_run(tmp_path / "run", plant=shift))
    assert "conservation" in rejected(certificate)
    assert verdicts(certificate)["freeze"] != "shown"


def test_freeze_that_did_not_happen_is_undecided(tmp_path: Path) -> None:
    """A trial that does not say when its step was frozen shows nothing."""
    run = certificate_run(tmp_path / "run")
    for path in run.glob("trials/*/trial.json"):
        amend(path, lambda trial: trial.pop("faults", None))
    certificate = certify(run)
    assert verdicts(certificate)["freeze"] == "undecided"
    assert certificate["valid"] is False


def test_flow_that_differs_from_itself_is_found(tmp_path: Path) -> None:
    """A second measurement of the same flow whose hops are a fifth longer is not the same."""

    def slower(scenario: str, spans: Spans) -> None:
        if scenario == "same-b":
            for step, by in ((WAIT, 1), (WAIT + 1, 2)):
                rows = of_step(spans, step)
                for name in ("t0_ns", "t1_ns", "t2_ns", "t3_ns"):
                    spans[name][rows & (spans[name] != 0)] += by * MS // 10

    certificate = certify(certificate_run(tmp_path / "run", plant=slower))
    assert rejected(certificate) == {"a-against-a"}


def test_flow_that_differs_from_itself_within_starts_is_found(tmp_path: Path) -> None:
    """Every other message of a start a fifth slower than the rest: a flow is not the same."""

    def limp(scenario: str, spans: Spans) -> None:
        if scenario.startswith("same"):
            for step, by in ((WAIT, 1), (WAIT + 1, 2)):
                rows = of_step(spans, step) & (spans["trace"] % 2 == 1)
                for name in ("t0_ns", "t1_ns", "t2_ns", "t3_ns"):
                    spans[name][rows & (spans[name] != 0)] += by * MS // 10

    certificate = certify(certificate_run(tmp_path / "run", plant=limp))
    assert rejected(certificate) == {"a-against-a"}


def test_starts_that_differ_much_do_not_hide_what_is_told_apart_within(tmp_path: Path) -> None:
    """Where some starts are twice as slow as others, only the resolution between them suffers."""
    calls: list[str] = []

    def uneven(scenario: str, spans: Spans) -> None:
        if scenario.startswith("same"):
            calls.append(scenario)
            by = MS * (calls.count(scenario) % 2)
            for step in (WAIT, WAIT + 1):
                rows = of_step(spans, step)
                for name in ("t0_ns", "t1_ns", "t2_ns", "t3_ns"):
                    spans[name][rows & (spans[name] != 0)] += by * step

    certificate = certify(certificate_run(tmp_path / "run", plant=uneven))
    within, between = check(certificate, "a-against-a")["rows"][:2]
    assert within["resolution"] < 0.05
    assert between["resolution"] > 0.5
    assert verdicts(certificate)["a-against-a"] == "shown"


def test_probe_that_costs_too_much_is_found(tmp_path: Path) -> None:
    """Spans that add 0.1 ms to a hop of 0.6 ms are more than 50 us and 5 %."""
    run = certificate_run(tmp_path / "run")

    def dear(content: Json) -> None:
        content["probe"]["on_ms"] = [ms + 0.1 for ms in content["probe"]["off_ms"]]

    amend(run / "meter.json", dear)
    assert rejected(certify(run)) == {"probe-overhead"}


@pytest.mark.parametrize("offset_ns", [MS, -MS])
def test_clocks_that_differ_are_found(tmp_path: Path, offset_ns: int) -> None:
    """A container's clock 1 ms off, either way, is outside of what the exchanges allow."""
    run = certificate_run(tmp_path / "run")

    def off(content: Json) -> None:
        clock = content["clocks"][0]
        clock["remote_ns"] = [ns + offset_ns for ns in clock["remote_ns"]]

    amend(run / "meter.json", off)
    assert rejected(certify(run)) == {"clocks"}


def test_loose_exchanges_decide_nothing(tmp_path: Path) -> None:
    """Round trips of 2 ms bound an offset too loosely to show anything."""
    run = certificate_run(tmp_path / "run")

    def slow(content: Json) -> None:
        for clock in content["clocks"]:
            clock["after_ns"] = [ns + 2 * MS for ns in clock["after_ns"]]
            clock["before_ns"] = [ns - 2 * MS for ns in clock["before_ns"]]

    amend(run / "meter.json", slow)
    certificate = certify(run)
    assert verdicts(certificate)["clocks"] == "undecided"
    assert certificate["verdict"] == "undecided"


def test_run_that_ended_early_is_no_certificate(tmp_path: Path) -> None:
    """All checks shown, in a run that was interrupted: undecided, with the reason."""
    run = certificate_run(tmp_path / "run")
    amend(run / "run.json", lambda content: content.update(status="interrupted"))
    certificate = certify(run)
    assert set(verdicts(certificate).values()) == {str(Shown.SHOWN)}
    assert (certificate["valid"], certificate["verdict"]) == (False, "undecided")
    assert "interrupted" in certificate["doubts"][0]


@pytest.mark.parametrize(
    "damage", ["no json", '{"format": 7}', '{"format": 1, "probe": 3}', "[]", "null"]
)
def test_damaged_readings_are_an_error(sound: Path, tmp_path: Path, damage: str) -> None:
    """A meter.json that cannot be used is named, never passed over."""
    (tmp_path / "run.json").write_text((sound / "run.json").read_text())
    (tmp_path / "trials").symlink_to(sound / "trials")
    (tmp_path / "meter.json").write_text(damage)
    with pytest.raises(FormatError, match=r"meter\.json"):
        certify(tmp_path)
