"""What a certificate measures: scenarios that differ in one respect, and only in that."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.certify import certificate_scenarios
from reports.certificate import SAME
from reports.recovered import DELAYS_MS
from scenarios.files import CATALOGUE, COMPONENTS, load_catalogue
from scenarios.model import Arrivals, Freeze, Loop, NetworkDelay, Scenario


def by_prefix(prefix: str, *, quick: bool = False) -> list[Scenario]:
    """The certificate's scenarios whose name begins so."""
    found = certificate_scenarios(COMPONENTS, quick=quick)
    return [scenario for scenario in found if scenario.name.startswith(prefix)]


@pytest.mark.parametrize("prefix", ["freeze", "same"])
def test_variants_differ_in_one_respect(prefix: str) -> None:
    """But for name, title and the one thing that is varied, variants are equal."""
    first, *others = by_prefix(prefix)
    assert others
    for other in others:
        alike = replace(
            other, name=first.name, title=first.title,
            load=replace(other.load, loop=first.load.loop),
        )  # fmt: skip
        assert alike == first
        assert (other.load.loop != first.load.loop) == (prefix == "freeze")


def test_every_delay_that_the_certificate_needs_is_measured() -> None:
    """The analysis looks for these delays, and for 0: both kinds of scenario have them all."""
    (network,) = by_prefix("network-delay")
    assert network.faults == (NetworkDelay("wait", None),)
    assert set(network.axes.network_delay_ms) == {0.0, *DELAYS_MS}
    (component,) = by_prefix("component-delay")
    assert set(component.axes.api_delay_ms) == {0.0, *DELAYS_MS}


def test_the_freeze_is_six_of_thirty_seconds_in_both_loops() -> None:
    """At 50 a second, evenly spaced; the quick one is a third of it."""
    for quick, scale in ((False, 1.0), (True, 1 / 3)):
        found = by_prefix("freeze", quick=quick)
        assert {scenario.load.loop for scenario in found} == set(Loop)
        for scenario in found:
            (fault,) = scenario.faults
            assert isinstance(fault, Freeze)
            assert (fault.after_s, fault.for_s) == pytest.approx((10.0 * scale, 6.0 * scale))
            assert scenario.load.arrivals is Arrivals.CONSTANT
            profile = scenario.profiles["quick" if quick else "full"]
            assert profile.messages / scenario.load.rate_hz == pytest.approx(30.0 * scale)


def test_a_flow_is_measured_against_itself_by_the_names_that_are_looked_for() -> None:
    """The two scenarios are those of the analysis."""
    assert tuple(scenario.name for scenario in by_prefix("same")) == SAME


def test_all_does_not_measure_them() -> None:
    """The catalogue, which `run all` measures, has none of the certificate's scenarios."""
    names = {scenario.name for scenario in certificate_scenarios(COMPONENTS, quick=False)}
    assert names & set(load_catalogue(CATALOGUE)) == set()
