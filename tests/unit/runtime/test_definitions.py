"""Definitions: documents and back, and every mistake in a bad one with its key."""

from __future__ import annotations

import copy
import json
import math
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.components import load_component
from runtime.definitions import (
    LOG_LEVELS,
    definition_document,
    read_definition,
    stored_definition,
)
from runtime.errors import DefinitionError
from runtime.flows import Definition, Trigger, TriggerKind
from runtime.model import Limits, Step

FOLDER = Path(__file__).parents[3] / "scenarios" / "components"
COMPONENTS = {
    name: load_component(FOLDER / name) for name in ("source", "mapper", "action", "delay-api")
}
GOOD: dict[str, Any] = {
    "steps": [
        {"id": "source", "component": "source", "function": "tick"},
        {
            "id": "mapper",
            "component": "mapper",
            "function": "map",
            "config": {"expression": '{"n": n}', "nothing": None},
            "prefetch": 4,
            "limits": {"memory": "64 MiB", "cpus": 0.5, "pids": 32},
            "persistent": False,
            "replicas": 3,
            "passthrough": True,
            "log_level": "DEBUG",
            "follow_newest": True,
            "max_length": 50,
            "max_bytes": "1 MiB",
        },
        {"id": "action", "component": "action", "function": "consume"},
    ],
    "trigger": {"kind": "cron", "schedule": "*/5 * * * *"},
    "variables": {"region": "eu"},
    "shutdown_timeout": "2 min",
}


def problems(document: object) -> tuple[str, ...]:
    """What is found wrong with a document; nothing when it is good."""
    try:
        read_definition(document, COMPONENTS)
    except DefinitionError as error:
        return error.problems
    return ()


def changed(*path: str | int, value: object) -> dict[str, Any]:
    """The good document with one value replaced or added."""
    document = copy.deepcopy(GOOD)
    place: Any = document
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = value
    return document


def chain(**after: str | None) -> dict[str, Any]:
    """A document whose steps say what they come after; None: they do not."""
    steps = []
    for name, before in after.items():
        trigger = before is None
        step = {
            "id": name,
            "component": "source" if trigger else "action",
            "function": "tick" if trigger else "consume",
        }
        steps.append(step if before is None else {**step, "after": before})
    return {"steps": steps}


def test_a_document_that_says_everything() -> None:
    """Every key arrives in the definition, converted to the unit that the field's name says."""
    assert read_definition(GOOD, COMPONENTS) == Definition(
        steps=(
            Step("source", "source", "tick", persistent=True),
            Step(
                id="mapper",
                component="mapper",
                function="map",
                config={"expression": '{"n": n}', "nothing": None},
                prefetch=4,
                limits=Limits(memory_bytes=64 * 1024**2, cpus=0.5, pids=32),
                persistent=False,
                replicas=3,
                passthrough=True,
                log_level="DEBUG",
                follow_newest=True,
                max_length=50,
                max_bytes=1024**2,
            ),
            Step("action", "action", "consume", persistent=True),
        ),
        trigger=Trigger(TriggerKind.CRON, schedule="*/5 * * * *"),
        variables={"region": "eu"},
        shutdown_timeout_s=120.0,
    )


def test_only_steps_are_needed() -> None:
    """Without trigger, variables and time-out, the definition has the defaults."""
    definition = read_definition({"steps": GOOD["steps"][:1]}, COMPONENTS)
    assert definition == Definition((Step("source", "source", "tick", persistent=True),))


def test_the_document_writes_every_field_of_a_step() -> None:
    """A field that is added to steps, and forgotten here, is noticed."""
    written = definition_document(read_definition(GOOD, COMPONENTS))["steps"][1]
    assert set(written) == {field.name for field in fields(Step)}
    assert set(written["limits"]) == {"memory", "cpus", "pids"}


def test_all_mistakes_of_a_document_are_found_at_once() -> None:
    """The whole list, each with its key; an error of exit code 2 that counts them."""
    document = {
        "steps": [
            {"id": "Source", "component": "source", "function": "tock", "colour": "red"},
            {"id": "mapper", "component": "mapper", "function": "map", "config": {}},
            {"id": "mapper", "component": "maper", "function": "map", "replicas": 6},
        ],
        "trigger": {"kind": "cron", "schedule": "61 * * * *"},
        "variables": {"n": 1},
        "timeout": "1 s",
    }
    with pytest.raises(DefinitionError, match="orders: 10 problems found\n") as caught:
        read_definition(document, COMPONENTS, where="orders")
    assert caught.value.exit_code == 2
    assert [problem.partition(": ")[0] for problem in caught.value.problems] == [
        "steps[2].id",
        "steps[0].function",
        "steps[0].id",
        "steps[0].colour",
        "steps[1].config.expression",
        "steps[2].component",
        "steps[2].replicas",
        "trigger.schedule",
        "variables.n",
        "timeout",
    ]


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (None, "a definition must be an object with steps, not null"),
        ([], "a definition must be an object with steps, not an array"),
        ({}, "steps: is missing; it must be an array of tables"),
        ({"steps": []}, "steps: is empty; add at least one"),
        (changed("steps", 2, "id", value="source"), "steps[2].id: 'source' is already the id of"),
        (changed("steps", 2, "component", value="acton"), "steps[2].component: there is no compo"),
        (changed("steps", 2, "component", value=""), "steps[2].component: is empty; name"),
        (changed("steps", 0, "function", value=""), "steps[0].function: is empty; name"),
        (changed("steps", 0, "function", value="map"), "steps[0].function: component 'source' ha"),
        (changed("steps", 0, value=GOOD["steps"][1] | {"id": "x"}), "steps[0].function: 'map' is"),
        (changed("steps", 1, "component", value="delay-api"), "steps[1].function: component 'del"),
        (changed("steps", 1, "config", "expression", value="{"), "steps[1].config.expression: no"),
        (changed("steps", 1, "config", "expression", value=""), "steps[1].config.expression: not"),
        (changed("steps", 1, "config", "n", value=2**63), "steps[1].config.n: an integer must fi"),
        (changed("steps", 1, "config", "n", value=math.nan), "steps[1].config.n: nan does not ex"),
        (changed("steps", 1, "config", "n", value="\ud800"), "steps[1].config.n: holds half a ch"),
        (changed("steps", 1, "prefetch", value=0), "steps[1].prefetch: 0 is too small; it must b"),
        (changed("steps", 1, "limits", "memory", value="5 MiB"), "steps[1].limits.memory: must b"),
        (changed("steps", 1, "limits", "cpus", value=0.001), "steps[1].limits.cpus: must be from"),
        (changed("steps", 1, "limits", "pids", value=2**23), "steps[1].limits.pids: 8388608 is t"),
        (changed("steps", 1, "max_length", value=0), "steps[1].max_length: 0 is too small; it mu"),
        (changed("steps", 1, "max_bytes", value="2 TiB"), "steps[1].max_bytes: '2 TiB' is not a"),
        (changed("steps", 1, "max_bytes", value="1025 GiB"), "steps[1].max_bytes: is too much; i"),
        (changed("steps", 1, "log_level", value="debug"), "steps[1].log_level: 'debug' is unknow"),
        (changed("steps", 1, "persistent", value=1), "steps[1].persistent: must be true or false"),
        (changed("trigger", "kind", value="cronn"), "trigger.kind: 'cronn' is unknown; write \"cr"),
        (changed("trigger", "schedule", value=""), "trigger.schedule: '' is no cron line: wrong"),
        (changed("trigger", "schedule", value="0 0 30 2 *"), "trigger.schedule: '0 0 30 2 *' is"),
        (changed("trigger", "schedule", value="1," * 200), "trigger.schedule: '1,1,1,1,1,1,1,1"),
        (changed("trigger", "every", value="1 s"), "trigger.every: unknown key; known here: kind"),
        (changed("trigger", value={"kind": "interval"}), "trigger.every: is missing; it must be"),
        (changed("trigger", value={"kind": "interval", "every": "1 us"}), "trigger.every: '1 us'"),
        (changed("trigger", value={"kind": "interval", "every": "0.1 ms"}), "trigger.every: must"),
        (changed("trigger", value={"kind": "webhook", "quota": "0/s"}), "trigger.quota: '0/s' is"),
        (changed("trigger", value={"kind": "webhook", "quotas": "1/s"}), "trigger.quotas: unknow"),
        (changed("trigger", value={"kind": "webhook", "quota": "1000000/s"}), "trigger.quota: is"),
        (changed("variables", value=[]), "variables: must be a table, as in [variables], not an"),
        (changed("shutdown_timeout", value="31 min"), "shutdown_timeout: is too long; it must be"),
        (changed("shutdown_timeout", value=30), "shutdown_timeout: must be a string with a number"),
        (changed("step", value=[]), "step: unknown key; did you mean 'steps'?"),
    ],
)
def test_one_mistake_is_named_with_its_key(document: object, expected: str) -> None:
    """Each kind of mistake, alone in an otherwise good document."""
    found = problems(document)
    assert [problem[: len(expected)] for problem in found] == [expected]


def test_without_components_it_is_said_that_none_is_deployed() -> None:
    """The first thing somebody forgets is named as such."""
    with pytest.raises(DefinitionError, match="no component 'source'; none has been deployed"):
        read_definition({"steps": GOOD["steps"][:1]}, {})


def test_steps_may_say_what_they_come_after() -> None:
    """Written in any order, they become the chain that they state."""
    document = chain(c="b", a=None, d="c", b="a")
    definition = read_definition(document, COMPONENTS)
    assert [step.id for step in definition.steps] == ["a", "b", "c", "d"]


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (chain(a=None, b="a", c="a"), ["steps[2].after: 'b' comes after 'a' already; a flow is"]),
        (chain(a=None, b="a", c="x"), ["steps[2].after: there is no step 'x'; the steps are a, "]),
        (
            chain(a=None, b="a", c=None),
            ["steps[2].after: is missing; 'a' is the first step, all"],
        ),
        (
            {"steps": [GOOD["steps"][0], GOOD["steps"][2] | {"after": 7}]},
            ["steps[1].after: must be a string, not 7"],
        ),
        (chain(a=None, b="b"), ["steps[1].after: is a cycle: b -> b"]),
        (chain(a="c", b="a", c="b"), ["steps[0].after: is a cycle: a -> b -> c -> a"]),
        (
            chain(a=None, b="d", c="b", d="c", e="f", f="e"),
            ["steps[1].after: is a cycle: b -> c -> d -> b", "steps[4].after: is a cycle: e -> f"],
        ),
        (
            chain(a=None, b="c", c="b", d="b"),
            ["steps[3].after: 'c' comes after 'b' already", "steps[1].after: is a cycle: b -> c"],
        ),
    ],
)
def test_what_is_no_chain_is_named(document: object, expected: list[str]) -> None:
    """A fork, a second beginning, an unknown step and every cycle."""
    found = problems(document)
    assert [one[: len(two)] for one, two in zip(found, expected, strict=True)] == expected


def test_deep_nesting_is_a_problem_and_no_crash() -> None:
    """A configuration of a thousand levels, and one of a hundred thousand."""
    for depth in (1000, 100_000):
        config: dict[str, Any] = {}
        for _ in range(depth):
            config = {"x": config}
        found = problems(changed("steps", 1, "config", value={"n": 1} | config))
        assert len(found) == 1
        assert "nested too deeply" in found[0]


ids = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?", fullmatch=True)
text = st.text(st.characters(exclude_categories=["Cs"]))
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=8,
)
limits = st.builds(
    Limits,
    memory_bytes=st.integers(6 * 1024**2, 1024**4),
    cpus=st.floats(0.01, 8192),
    pids=st.integers(1, 2**22),
)
steps = st.builds(
    Step,
    id=ids,
    component=text,
    function=text,
    config=st.dictionaries(text, values, max_size=3),
    prefetch=st.integers(1, 65_535),
    limits=limits,
    persistent=st.booleans(),
    replicas=st.integers(1, 5),
    passthrough=st.booleans(),
    log_level=st.sampled_from(LOG_LEVELS),
    follow_newest=st.booleans(),
    max_length=st.integers(1, 10_000_000),
    max_bytes=st.integers(1, 1024**4),
)
triggers = st.one_of(
    st.just(Trigger()),
    st.builds(Trigger, st.just(TriggerKind.CRON), schedule=text),
    st.builds(Trigger, st.just(TriggerKind.INTERVAL), every_s=st.floats(0.001, 31 * 86_400)),
    st.builds(
        Trigger,
        st.just(TriggerKind.WEBHOOK),
        quota_per_s=st.none() | st.floats(1e-5, 100_000),
    ),
)
definitions = st.builds(
    Definition,
    steps=st.lists(steps, min_size=1, max_size=4, unique_by=lambda step: step.id).map(tuple),
    trigger=triggers,
    variables=st.dictionaries(text, text, max_size=3),
    shutdown_timeout_s=st.floats(0, 1800).filter(lambda s: s == 0 or s > 1e-6),
)


@settings(deadline=None)
@given(definitions)
def test_a_definition_survives_its_document(definition: Definition) -> None:
    """Through JSON text and back, every definition is the same, to the last bit of a float."""
    text = json.dumps(definition_document(definition), allow_nan=False)
    assert stored_definition(json.loads(text)) == definition


@settings(deadline=None)
@given(values)
def test_no_document_is_too_strange(value: object) -> None:
    """Whatever JSON holds becomes a definition or a list of problems, in every place."""
    for path in (
        ("steps",),
        ("trigger",),
        ("steps", 1),
        ("steps", 1, "limits"),
        ("trigger", "kind"),
    ):
        assert isinstance(problems(changed(*path, value=value)), tuple)
    assert problems(value) != ()


def test_a_routers_expression_is_looked_at_like_a_mappers() -> None:
    """A decision that does not parse, or is not there, is found before anything is started."""
    components = {**COMPONENTS, "router": load_component(FOLDER / "router")}
    for config, what in (
        ({"config": {"expression": "n >"}}, "steps[1].config.expression: not JSONata: "),
        ({}, "steps[1].config.expression: is missing; a router needs a JSONata expression"),
    ):
        step = {"id": "router", "component": "router", "function": "filter", **config}
        document = {**GOOD, "steps": [GOOD["steps"][0], step, GOOD["steps"][2]]}
        with pytest.raises(DefinitionError) as caught:
            read_definition(document, components)
        (problem,) = caught.value.problems
        assert problem.startswith(what)
