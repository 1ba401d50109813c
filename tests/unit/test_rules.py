"""Each rule of the platform (docs/platform.md) has an integration test where it is decided."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.collected import FILE

ROOT = Path(__file__).resolve().parents[2]
RULES = tuple(f"D{number}" for number in range(1, 18))


@pytest.fixture(scope="module")
def collected(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The integration tests that prove rules and are not skipped, as pytest itself finds them."""
    file = tmp_path_factory.mktemp("collected") / "tests.json"
    command = [*(sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider")]
    command += ["-p", "tests.fakes.collected", "-m", "requirement", "tests/integration"]
    environment = {**os.environ, FILE: str(file), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found: list[dict[str, Any]] = json.loads(file.read_text())
    return [one for one in found if not {"skip", "skipif", "xfail"} & set(one["marks"])]


def test_each_rule_is_proved_on_rabbitmq(collected: list[dict[str, Any]]) -> None:
    """For D1 to D17 there is a test that runs on RabbitMQ; no test names another rule."""
    proved = {rule for one in collected if "rabbitmq" in one["marks"] for rule in one["rules"]}
    assert [rule for rule in RULES if rule not in proved] == []
    assert {rule for one in collected for rule in one["rules"]} <= set(RULES)


def test_limits_are_proved_in_containers(collected: list[dict[str, Any]]) -> None:
    """D10's limits and end for want of memory are seen where steps are containers."""
    assert [one["test"] for one in collected if "docker" in one["marks"] and "D10" in one["rules"]]


def test_the_document_lists_each_rule_once() -> None:
    """The table of docs/platform.md has D1 to D17, in order."""
    text = (ROOT / "docs" / "platform.md").read_text()
    assert tuple(re.findall(r"^\| (D\d+) \|", text, re.MULTILINE)) == RULES
