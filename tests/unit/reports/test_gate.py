"""The gate's exit codes."""

from __future__ import annotations

from typing import Any

import pytest

from reports.gate import judge


def results(*verdicts: str, status: str = "complete", valid: int = 5, error: str | None = None) -> (
    dict[str, Any]
):  # fmt: skip
    """Results with one claim a verdict."""
    return {
        "status": status, "error": error,
        "counts": {"planned_trials": 5, "trials": 5, "valid": valid},
        "claims": [{"id": f"S{i}", "verdict": v} for i, v in enumerate(verdicts, start=1)],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("found", "strict", "code", "reason"),
    [
        (results("met", "met"), False, 0, "2 of 2 claims met"),
        (results("met", "met"), True, 0, "2 of 2 claims met"),
        (results("met", "undecided"), False, 0, "undecided: S2"),
        (results("met", "undecided"), True, 3, "undecided: S2"),
        (results("undecided", "undecided"), False, 3, "undecided: S1, S2"),
        (results("met", "missed"), False, 1, "missed: S2"),
        (results("undecided", "missed"), True, 1, "missed: S2"),
        (results("met", valid=0), False, 2, "nothing was measured"),
        (results(), False, 2, "no claims"),
        (results("met", status="interrupted"), False, 2, "interrupted: 5 of 5"),
        (results("missed", status="failed", error="no broker"), False, 2, "no broker"),
    ],
)
def test_exit_code(found: dict[str, Any], strict: bool, code: int, reason: str) -> None:
    """0 met, 1 missed, 2 unusable, 3 undecided; failing closed, with the reason in words."""
    outcome = judge(found, strict=strict)
    assert code == outcome.exit_code
    assert reason in outcome.reason
