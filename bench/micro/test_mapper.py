"""The data mapper's evaluation. Floor: the same mapping written by hand in Python."""

from __future__ import annotations

import logging
from typing import Any

from pytest_benchmark.fixture import BenchmarkFixture

from bench.environment import ROOT
from bench.micro.paired import compare_calls
from runtime.worker.component import Context, load

CONFIG = {"expression": '{"sequence": sequence, "delay_ms": delay_ms, "data": data}'}
MESSAGE = {"body": {"sequence": 12, "delay_ms": 40, "data": "x" * 1024}}


def by_hand(msg: dict[str, Any]) -> dict[str, Any]:
    """What the expression says."""
    body = msg["body"]
    return {
        "body": {
            "sequence": body["sequence"],
            "delay_ms": body["delay_ms"],
            "data": body["data"],
        }
    }


def test_mapper(benchmark: BenchmarkFixture) -> None:
    """The realtime scenario's expression on a body of 1 KiB, through the component as loaded."""
    root = ROOT / "scenarios" / "components" / "mapper"
    component = load(str(root), "mapper.py")
    component.hooks["init"](CONFIG)
    context = Context(lambda _event, _payload: None, logging.getLogger("micro"), {})

    def evaluate() -> Any:
        return component.process(MESSAGE, CONFIG, {}, context)

    comparison = compare_calls(evaluate, lambda: by_hand(MESSAGE))
    benchmark.extra_info.update(comparison.document())
    assert benchmark(evaluate) == by_hand(MESSAGE)
