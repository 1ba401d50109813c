"""How a flow is laid onto a broker: names of queues and keys, and what each worker is told."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from runtime.broker import Binding, Queue, Route, Topology
from runtime.model import Component, Flow


@dataclass(frozen=True, slots=True)
class Wiring:
    """Names for one deployment of a flow. ``queues`` are in the order of the steps."""

    topology: Topology
    queues: tuple[str, ...]
    keys: tuple[str, ...]
    error_queue: str
    error_key: str

    @property
    def entry(self) -> Route:
        """Where the first step's messages are published."""
        return Route(self.topology.exchange, self.keys[0])


def wire(flow: Flow, deployment: str, *, max_bytes: int = 256 * 1024 * 1024) -> Wiring:
    """Give every step a queue of its own, bounded, and the flow a queue for its errors."""
    exchange = f"hopbench.{deployment}"
    keys = tuple(f"{index}.{step.id}" for index, step in enumerate(flow.steps))
    queues = tuple(f"{exchange}.{key}" for key in keys)
    error_key = "errors"
    error_queue = f"{exchange}.{error_key}"
    topology = Topology(
        exchange,
        tuple(Queue(name, max_bytes=max_bytes) for name in (*queues, error_queue)),
        tuple(
            Binding(key, queue)
            for key, queue in zip((*keys, error_key), (*queues, error_queue), strict=True)
        ),
    )
    return Wiring(topology, queues, keys, error_queue, error_key)


def step_environment(
    flow: Flow,
    index: int,
    wiring: Wiring,
    component: Component,
    *,
    broker_url: str,
    spool: str,
    one_shot: bool,
    substitutions: Mapping[str, str],
) -> dict[str, str]:
    """What the worker of one step is told; see ``runtime/worker/settings.py``.

    ``substitutions`` replaces ``${services.NAME}`` in the step's configuration.
    """
    step = flow.steps[index]
    last = index == len(flow.steps) - 1
    config = json.dumps(dict(step.config))
    for name, value in substitutions.items():
        config = config.replace(name, json.dumps(value)[1:-1])
    return {
        "ELASTICIO_AMQP_URI": broker_url,
        "ELASTICIO_FLOW_ID": flow.name,
        "ELASTICIO_STEP_ID": step.id,
        "ELASTICIO_COMP_ID": step.component,
        "ELASTICIO_FUNCTION": step.function,
        "ELASTICIO_LISTEN_MESSAGES_ON": wiring.queues[index],
        "ELASTICIO_PUBLISH_MESSAGES_TO": wiring.topology.exchange,
        "ELASTICIO_DATA_ROUTING_KEY": "" if last else wiring.keys[index + 1],
        "ELASTICIO_ERROR_ROUTING_KEY": wiring.error_key,
        "ELASTICIO_RABBITMQ_PREFETCH_SAILOR": str(step.prefetch),
        "HOPBENCH_STEP_INDEX": str(index),
        "HOPBENCH_STEP_CONFIG": config,
        "HOPBENCH_VARIABLES": json.dumps(dict(flow.variables)),
        "HOPBENCH_MAIN": component.functions[step.function].main,
        "HOPBENCH_ONE_SHOT": "1" if one_shot else "",
        "HOPBENCH_SPOOL": spool,
    }
