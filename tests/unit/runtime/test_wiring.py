"""How a flow is laid onto a broker."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from runtime.errors import InputError
from runtime.model import Component, Flow, Function, Step
from runtime.wiring import step_environment, wire

FLOW = Flow(
    "flow",
    (
        Step("a", "one", "tick"),
        Step("b", "two", "run", {"url": "http://${services.api}/x"}, prefetch=3),
        Step("c", "two", "run"),
    ),
    {"name": "value"},
)
COMPONENT = Component(
    "two",
    Path("/c"),
    "Two",
    {"run": Function("run", "action", "two.py"), "tick": Function("tick", "trigger", "t.py")},
)


def _environment(index: int) -> dict[str, str]:
    return step_environment(
        FLOW,
        index,
        wire(FLOW, "d1"),
        COMPONENT,
        broker_url="amqp://x",
        spool="/spool/s",
        one_shot=False,
        substitutions={"${services.api}": "api:8080"},
    )


def test_every_step_has_its_queue() -> None:
    """One bounded queue a step and one for errors, each bound to a key of its own."""
    topology = wire(FLOW, "d1").topology
    assert len({queue.name for queue in topology.queues}) == 4
    assert {binding.queue for binding in topology.bindings} == {q.name for q in topology.queues}
    assert len({binding.key for binding in topology.bindings}) == 4
    assert all(queue.max_length > 0 and queue.max_bytes > 0 for queue in topology.queues)


def test_deployments_share_nothing() -> None:
    """Two deployments of one flow have different exchanges and queues."""
    one, other = wire(FLOW, "d1").topology, wire(FLOW, "d2").topology
    assert one.exchange != other.exchange
    assert not {q.name for q in one.queues} & {q.name for q in other.queues}


def test_each_step_publishes_to_the_next() -> None:
    """A step's data key is bound to the next step's queue; the last step has none."""
    wiring = wire(FLOW, "d1")
    bound = {binding.key: binding.queue for binding in wiring.topology.bindings}
    for index in (0, 1):
        environment = _environment(index)
        following = _environment(index + 1)
        key = environment["ELASTICIO_DATA_ROUTING_KEY"]
        assert bound[key] == following["ELASTICIO_LISTEN_MESSAGES_ON"]
    assert _environment(2)["ELASTICIO_DATA_ROUTING_KEY"] == ""
    assert bound[wiring.entry.key] == _environment(0)["ELASTICIO_LISTEN_MESSAGES_ON"]


def test_configuration_reaches_the_step() -> None:
    """Configuration with its services filled in, prefetch, variables and the function's file."""
    environment = _environment(1)
    assert json.loads(environment["HOPBENCH_STEP_CONFIG"]) == {"url": "http://api:8080/x"}
    assert environment["ELASTICIO_RABBITMQ_PREFETCH_SAILOR"] == "3"
    assert json.loads(environment["HOPBENCH_VARIABLES"]) == {"name": "value"}
    assert environment["HOPBENCH_MAIN"] == "two.py"


def test_digest_is_of_the_definition() -> None:
    """The digest is the flow's content: the same for an equal flow, another for a changed one."""
    same = Flow("other name", FLOW.steps, FLOW.variables)
    changed = Flow("flow", (*FLOW.steps[:2], Step("c", "two", "run", {"x": 1})), FLOW.variables)
    assert FLOW.digest() == same.digest()
    assert FLOW.digest() != changed.digest()


@pytest.mark.parametrize("steps", [(), (Step("a", "x", "f"), Step("a", "y", "f"))])
def test_impossible_flows(steps: tuple[Step, ...]) -> None:
    """A flow without steps, or with two of one name, cannot be made."""
    with pytest.raises(InputError):
        Flow("flow", steps)


def test_an_outlet_takes_what_the_last_step_emits() -> None:
    """Only where it is asked for: a queue of its own, and a key that the last worker is told."""
    wiring = wire(FLOW, "d1", outlet=True)
    last = step_environment(
        FLOW, 2, wiring, COMPONENT, broker_url="amqp://x", spool="/spool/s", one_shot=False,
        substitutions={},
    )  # fmt: skip
    assert last["ELASTICIO_DATA_ROUTING_KEY"] == wiring.outlet_key != ""
    assert wiring.outlet_queue in {queue.name for queue in wiring.topology.queues}
    assert (wiring.outlet_key, wiring.outlet_queue) in wiring.topology.bindings
    assert wire(FLOW, "d1").outlet_queue == _environment(2)["ELASTICIO_DATA_ROUTING_KEY"] == ""
