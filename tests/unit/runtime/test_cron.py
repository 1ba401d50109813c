"""Cron lines: which are good, and what is said of the others."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.cron import cron_problem


@pytest.mark.parametrize(
    "line",
    ["* * * * *", "*/10 * * * * *", "0 9-17 * * MON-FRI", "0 0 L * *", "0 0 29 2 *", "0 0 * * 5#2"],
)
def test_good_lines(line: str) -> None:
    """Five fields, six with seconds, names, last days and leap days."""
    assert cron_problem(line) == ""


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", "wrong number of fields; write minute hour day-of-month month day-of-week"),
        ("* * * *", "wrong number of fields"),
        ("60 * * * *", "bad minute"),
        ("* 24 * * *", "bad hour"),
        ("*/0 * * * *", "bad minute"),
        ("0 0 30 2 *", "bad day-of-month"),
        ("0 0 31 4 *", "bad day-of-month"),
        ("0 0 * * MON#6", "bad day-of-week"),
        ("@daily", "wrong number of fields"),
        ("1" * 5000 + " * * * *", "longer than 200 characters"),
    ],
)
def test_bad_lines(line: str, expected: str) -> None:
    """The field that is wrong is named."""
    assert cron_problem(line).startswith(expected)


fields = st.text("0123456789*/-,#LWmonMON", min_size=1, max_size=6)


@settings(deadline=None)
@given(st.lists(fields, min_size=5, max_size=6).map(" ".join))
def test_no_line_is_too_strange(line: str) -> None:
    """Whatever stands in the fields, the line is good or something is said of it."""
    assert isinstance(cron_problem(line), str)
