"""How errors read."""

from __future__ import annotations

import pytest

from runtime.errors import FlowError


@pytest.mark.parametrize(
    ("what", "where", "remedy", "text"),
    [
        ("it ended", "", "", "it ended"),
        ("it ended", "step a", "", "step a: it ended"),
        ("it ended", "step a", "See its log", "step a: it ended. See its log"),
        ("it said: Not found.", "", "See its log", "it said: Not found. See its log"),
        ("it said: wait...", "", "See its log", "it said: wait... See its log"),
        ("it said: Not found.", "", "", "it said: Not found."),
    ],
)
def test_an_error_is_where_what_and_what_to_do(
    what: str, where: str, remedy: str, text: str
) -> None:
    """Each sentence ends with one full stop, whoever wrote it."""
    assert str(FlowError(what, where=where, remedy=remedy)) == text
