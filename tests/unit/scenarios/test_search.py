"""What a scenario may search for: read, and each mistake named with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.errors import ScenarioError
from scenarios.files import CATALOGUE, load_scenario
from scenarios.model import Search

TEXT = (CATALOGUE / "capacity.toml").read_text()


def written(folder: Path, text: str) -> Path:
    """A scenario file of this text."""
    path = folder / "capacity.toml"
    path.write_text(text)
    return path


def test_the_shipped_search_is_read() -> None:
    """With S11's limit."""
    scenario = load_scenario(CATALOGUE / "capacity.toml")
    assert scenario.search == Search(200.0, 3200.0, 1.2, 15.0, 2.0, 10)
    assert scenario.at_rate(700.0).load.rate_hz == 700.0


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('lowest = "200/s"', "", "search.lowest: is missing"),
        ('limit = "15 ms"', "", "search.limit: is missing"),
        ('highest = "3200/s"', 'highest = "100/s"', "search.highest: must be above lowest"),
        ("factor = 1.2", "factor = 1.0", "search.factor: must be from 1.01 to 2, not 1"),
        ("factor = 1.2", "factor = 3", "search.factor: must be from 1.01 to 2, not 3"),
        ('probe = "2 s"', "probes = 2", "search.probes"),
        ("starts = 10", "starts = 3", "search.starts: 3 is too small; it must be at least 4"),
        (
            "[search]",
            '[vary]\npayload = ["1 KiB"]\n[search]',
            "search: cannot be combined with vary",
        ),
        ('flow_type = "realtime"', 'flow_type = "ordinary"', "search: needs a realtime flow"),
        (
            'arrivals = "poisson"',
            'loop = "closed"',
            "search: needs a realtime flow and an open loop",
        ),
        (
            'flow_type = "realtime"',
            'flow_type = "realtime"\nunprompted = true',
            "search: cannot be combined with unprompted",
        ),
    ],
)
def test_what_is_wrong_with_a_search_is_named(
    tmp_path: Path, old: str, new: str, problem: str
) -> None:
    """Each problem has its key."""
    assert old in TEXT
    with pytest.raises(ScenarioError) as caught:
        load_scenario(written(tmp_path, TEXT.replace(old, new, 1)))
    assert problem in str(caught.value)
