"""How numbers are written: significant digits, units, intervals, and what is missing."""

from __future__ import annotations

import pytest

from reports.render.numbers import NEEDS_MORE, counted, of_stat, of_value, quantity, size

NB = "\u00a0"


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [
        (0.98213, "ms", f"0.982{NB}ms"),
        (1412.4, "ms", f"1.41{NB}s"),
        (0.0043, "ms", f"4.30{NB}µs"),
        (25.4, "us", f"25.4{NB}µs"),
        (180.0, "s", f"180{NB}s"),
        (0.0, "ms", f"0{NB}ms"),
        (-1.5, "ms", f"-1.50{NB}ms"),
        (1.1377, "x", f"1.14{NB}\u00d7"),
        (12345.0, "messages", f"12\u202f345{NB}messages"),
        (None, "ms", "not measured"),
    ],
)
def test_quantity(value: float | None, unit: str, shown: str) -> None:
    """Three significant digits in the unit that reads best; an absence is said in words."""
    assert quantity(value, unit) == shown


def test_interval_is_in_the_unit_of_its_value() -> None:
    """Both ends move to seconds with the value, with as many places."""
    stat = {"unit": "ms", "mean": 1412.0, "mean_low": 998.0, "mean_high": 1500.5}
    shown = of_stat(stat)
    assert (shown.text, shown.interval) == (f"1.41{NB}s", f"1.00 to 1.50{NB}s")


def test_missing_quantile_names_its_reason() -> None:
    """A quantile that is null needs more observations; a mean that is null was not measured."""
    stat = {"unit": "ms", "mean": None, "p99": None}
    assert of_stat(stat, "p99").text == NEEDS_MORE
    assert of_stat(stat, "mean").text == "not measured"
    assert of_value(None).given is False


def test_counts_agree_with_their_noun() -> None:
    """One start, two starts."""
    assert counted(1, "start") == f"1{NB}start"
    assert counted(1500, "message") == f"1\u202f500{NB}messages"


def test_sizes_are_binary() -> None:
    """Payloads are powers of two and are named so."""
    assert [size(1024), size(65536), size(1048576)] == [f"1{NB}KiB", f"64{NB}KiB", f"1{NB}MiB"]
