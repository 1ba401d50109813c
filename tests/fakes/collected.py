"""A pytest plugin that writes down which tests there are: rules they prove, what they need.

``pytest --collect-only -p tests.fakes.collected`` with the file's name in HOPBENCH_COLLECTED.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

FILE = "HOPBENCH_COLLECTED"


def pytest_collection_finish(session: pytest.Session) -> None:
    """Write the tests that will run, each with its rules and the names of its other marks."""
    found = []
    for item in session.items:
        marks = {mark.name for mark in item.iter_markers()}
        rules = {rule for mark in item.iter_markers("requirement") for rule in mark.args}
        found.append({"test": item.nodeid, "rules": sorted(rules), "marks": sorted(marks)})
    Path(os.environ[FILE]).write_text(json.dumps(found))
