"""The catalogue and the claims that hopbench ships: they load, fit together and fit in the time."""

from __future__ import annotations

import re

import pytest

from runtime.model import FlowType
from scenarios.files import CLAIMS, load_catalogue, load_claims
from scenarios.model import Scenario

START_AND_STOP_S = 3.0
"""What starting and stopping a flow takes on two cores, generously."""


@pytest.fixture(scope="module")
def catalogue() -> dict[str, Scenario]:
    """All shipped scenarios."""
    return load_catalogue()


def load_s(scenario: Scenario, profile: str) -> float:
    """Seconds for which one start is under load: a gap, and the API's delay, per message.

    Of a scenario with phases, a start is a pass through them, with the stops in between; of one
    with a search, it is all the starts that the search may make.
    """
    if scenario.search is not None:
        starts = scenario.search.starts
        return starts * scenario.search.probe_s + (starts - 1) * START_AND_STOP_S
    if scenario.phases:
        idle_s = START_AND_STOP_S * (len(scenario.phases) - 1)
        return idle_s + sum(
            (phase.messages or scenario.profiles[profile].messages)
            / (phase.rate_hz or scenario.load.rate_hz)
            for phase in scenario.phases
        )
    cells = scenario.message_cells()
    gaps_s = sum(1 / scenario.load.rate_hz + cell.delay_ms / 1000 for cell in cells)
    return gaps_s * scenario.profiles[profile].messages


def test_the_files_are_named_after_their_scenarios(catalogue: dict[str, Scenario]) -> None:
    """``bench run NAME`` finds the file by the name."""
    assert list(catalogue) == [
        "capacity", "length", "listen-careless", "listen-guarded", "ordinary", "realtime",
        "redeploy", "sensitivity", "soak", "switch", "volume-and-api", "warmup",
    ]  # fmt: skip
    assert all(name in scenario.path for name, scenario in catalogue.items())
    assert all(set(scenario.profiles) == {"quick", "full"} for scenario in catalogue.values())


def test_both_modes_measure_one_flow(catalogue: dict[str, Scenario]) -> None:
    """Ordinary, realtime, warm-up and length (at 3) have one definition, so one digest."""
    names = ("realtime", "ordinary", "warmup", "sensitivity")
    digests = {catalogue[name].flow().digest() for name in names}
    digests.add(catalogue["length"].flow(3).digest())
    assert len(digests) == 1
    assert catalogue["ordinary"].flow_type is FlowType.ORDINARY
    assert catalogue["realtime"].flow_type is FlowType.REALTIME


def test_flows_of_all_lengths(catalogue: dict[str, Scenario]) -> None:
    """Each start cell of the length scenario is a flow of that many steps with ids of their own."""
    scenario = catalogue["length"]
    lengths = {cell: len(scenario.flow(cell).steps) for cell in scenario.start_cells()}
    assert lengths == {2: 2, 3: 3, 5: 5, 8: 8}


def test_the_volume_and_api_cells(catalogue: dict[str, Scenario]) -> None:
    """Three payloads times four delays, within one start."""
    cells = catalogue["volume-and-api"].message_cells()
    assert len(set(cells)) == 12
    assert {cell.payload_bytes for cell in cells} == {1024, 65_536, 1_048_576}
    assert {cell.api_delay_ms for cell in cells} == {0.0, 80.0, 200.0, 350.0}


def test_ordinary_executions_do_not_overlap(catalogue: dict[str, Scenario]) -> None:
    """There are twice the 1.5 s of an execution between two arrivals."""
    assert 1 / catalogue["ordinary"].load.rate_hz >= 3.0


def test_a_p99_can_be_given(catalogue: dict[str, Scenario]) -> None:
    """At least 10 warm executions of the quick realtime runs lie beyond the 99th percentile."""
    profile = catalogue["realtime"].profiles["quick"]
    assert profile.starts * (profile.messages - 1) * 0.01 >= 10


def test_the_quick_catalogue_fits_in_seven_minutes(
    catalogue: dict[str, Scenario],
) -> None:
    """Load, starts and stops of all quick trials, one after another."""
    seconds = sum(
        len(scenario.start_cells())
        * scenario.profiles["quick"].starts
        * (load_s(scenario, "quick") + START_AND_STOP_S)
        for scenario in catalogue.values()
    )
    assert seconds <= 420.0


def test_a_soak_lasts_long_enough_for_the_uptime_claim(catalogue: dict[str, Scenario]) -> None:
    """S22 can be decided in the quick profile; the full one watches for two hours."""
    (claim,) = (claim for claim in load_claims() if claim.metric == "uptime_s")
    assert load_s(catalogue[claim.scenario], "quick") >= claim.parameters["needed_s"]
    assert load_s(catalogue[claim.scenario], "full") >= 7200.0


def test_the_claims_are_the_whole_ledger() -> None:
    """S1 to S25, each once and in order, and each with something that decides it."""
    claims = load_claims()
    assert [claim.id for claim in claims] == [f"S{number}" for number in range(1, 26)]
    assert [claim.id for claim in claims if claim.metric == "not_measured"] == []


def test_every_claim_has_a_scenario_that_exists(catalogue: dict[str, Scenario]) -> None:
    """A claim names a shipped scenario, also in its parameters, and one of the right mode."""
    for claim in load_claims():
        if claim.metric == "not_measured":
            continue
        assert claim.scenario in catalogue
        for mode in ("ordinary", "realtime"):
            if mode in claim.parameters:
                assert catalogue[claim.parameters[mode]].flow_type == mode


def test_every_metric_is_defined_in_the_table() -> None:
    """The comment table on top of the claims defines exactly the metrics in use, with units."""
    rows = re.findall(r"^# ([a-z_]+) +(\S+) +\S", CLAIMS.read_text(), re.MULTILINE)
    defined = {name: unit for name, unit in rows if "_" in name}
    claims = load_claims()
    assert set(defined) == {claim.metric for claim in claims}
    for claim in claims:
        if claim.target is not None:
            assert claim.target.unit == defined[claim.metric]


def test_claims_about_containers_need_containers() -> None:
    """On mere processes these can be undecided only: they name containers, or time their start."""
    needing = {claim.id for claim in load_claims() if claim.needs_containers}
    naming = {"S1", "S2", "S4", "S5", "S6", "S9", "S11", "S12"}
    assert needing == naming | {"S7", "S8", "S19"}
