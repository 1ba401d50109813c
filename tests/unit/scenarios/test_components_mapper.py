"""The data mapper: one message in, one out, and errors where JSONata gives no message."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from scenarios.files import COMPONENTS, load_catalogue

Load = Callable[[str, str], ModuleType]


@pytest.fixture
def mapper(component: Load) -> ModuleType:
    """The mapper's module."""
    return component("mapper", "map")


def mapped(mapper: ModuleType, expression: str, body: Any) -> Any:
    """The body of the one message that comes out."""
    emitted = mapper.process({"body": body}, {"expression": expression}, {})
    assert list(emitted) == ["body"]
    return emitted["body"]


@pytest.mark.parametrize("name", ["realtime", "ordinary", "warmup", "length", "volume-and-api"])
@pytest.mark.parametrize("delay_ms", [None, 0.0, 80.0])
def test_the_catalogue_keeps_what_the_load_sends(
    mapper: ModuleType, name: str, delay_ms: float | None
) -> None:
    """Sequence, delay (null too) and data pass through every catalogue expression unchanged."""
    (expression,) = (
        step.config["expression"]
        for step in load_catalogue()[name].steps
        if step.component == "mapper"
    )
    body = {"sequence": 0, "delay_ms": delay_ms, "data": "x" * 1024}
    assert mapped(mapper, expression, body) == body


def test_an_expression_maps(mapper: ModuleType) -> None:
    """Paths, functions and arrays of JSONata work, and the result can be sent as JSON."""
    body = {"items": [{"price": 2, "count": 3}, {"price": 5, "count": 1}], "name": "a"}
    expression = '{"total": $sum(items.(price * count)), "prices": items.price, "n": name & "b"}'
    result = mapped(mapper, expression, body)
    assert json.loads(json.dumps(result)) == {"total": 11, "prices": [2, 5], "n": "ab"}


def test_the_input_is_left_alone(mapper: ModuleType) -> None:
    """A transform works on a copy."""
    body = {"a": {"b": 1}}
    assert mapped(mapper, '$ ~> |a|{"b": 2}|', body) == {"a": {"b": 2}}
    assert body == {"a": {"b": 1}}


def test_each_message_is_evaluated_anew(mapper: ModuleType) -> None:
    """Nothing of one message is left when the next comes."""
    expression = '($x := a; {"a": $x})'
    assert mapped(mapper, expression, {"a": 1}) == {"a": 1}
    assert mapped(mapper, expression, {}) == {}


@pytest.mark.parametrize(
    ("expression", "error"),
    [
        ('{"a": $error("boom")}', "boom"),
        ('{"a": 1 + name}', "right side"),
        ("$sum(name)", "must be an array"),
        ("missing", "the expression gives nothing; a message body is an object"),
        ("name", "the expression gives a str"),
        ("[name]", "the expression gives a "),
    ],
)
def test_a_failed_evaluation_raises(mapper: ModuleType, expression: str, error: str) -> None:
    """An error of the expression, or a result that is no message body, never passes silently."""
    with pytest.raises((RuntimeError, ValueError), match=error):
        mapped(mapper, expression, {"name": "x"})


def test_init_compiles_before_the_first_message(mapper: ModuleType) -> None:
    """A worker that calls ``init`` pays for the compilation before it consumes, and only once."""
    mapper.init({"expression": '{"a": a}'})
    assert mapper._compiled.cache_info().misses == 1
    mapped(mapper, '{"a": a}', {"a": 1})
    assert mapper._compiled.cache_info().misses == 1
    with pytest.raises(RuntimeError, match="Unexpected end"):
        mapper.init({"expression": ""})


def test_the_mapper_loads_no_heavy_module() -> None:
    """What its import costs is part of the warm-up that is measured: nothing beyond jsonata."""
    code = "import sys, mapper; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    listed = subprocess.run(
        [sys.executable, "-c", code],
        cwd=COMPONENTS / "mapper",
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = set(listed.stdout.split())
    assert "jsonata" in loaded
    assert not loaded & {"http", "email", "asyncio", "logging", "numpy", "requests", "runtime"}
