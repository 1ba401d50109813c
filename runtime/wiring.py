"""How a flow is laid onto a broker: names of queues and keys, and what each worker is told."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from runtime.broker import Binding, Queue, Route, Topology
from runtime.message import REBOUND_DELAY_MS, REBOUND_LIMIT, rebound_delay_ms
from runtime.model import Component, Flow

ERRORS, SNAPSHOTS, OUTLET = "errors", "snapshots", "outlet"
"""Keys, and ends of the names of the queues behind them. Those of steps begin with a number."""


@dataclass(frozen=True, slots=True)
class Wiring:
    """Names for one deployment of a flow. ``queues`` are in the order of the steps.

    ``snapshot_queue`` and ``snapshot_key`` are empty where nobody collects snapshots,
    ``outlet_queue`` and ``outlet_key`` where nobody takes what the last step emits.
    """

    topology: Topology
    queues: tuple[str, ...]
    keys: tuple[str, ...]
    error_queue: str
    error_key: str
    snapshot_queue: str = ""
    snapshot_key: str = ""
    outlet_queue: str = ""
    outlet_key: str = ""

    @property
    def entry(self) -> Route:
        """Where the first step's messages are published."""
        return Route(self.topology.exchange, self.keys[0])


def wire(
    flow: Flow,
    deployment: str,
    *,
    snapshots: bool = False,
    outlet: bool = False,
    rebound_delay_first_ms: int = REBOUND_DELAY_MS,
    rebound_limit: int = REBOUND_LIMIT,
) -> Wiring:
    """Give every step a queue of its own, bounded, and the flow a queue for its errors.

    With ``snapshots``, the flow has one for its steps' snapshots, too, and with ``outlet`` one for
    what the last step emits: somebody must empty them.
    """
    exchange = f"hopbench.{deployment}"
    keys = tuple(f"{index}.{step.id}" for index, step in enumerate(flow.steps))
    queues = tuple(f"{exchange}.{key}" for key in keys)
    others = (ERRORS, *((SNAPSHOTS,) if snapshots else ()), *((OUTLET,) if outlet else ()))
    bounded = [
        Queue(name, step.max_length, step.max_bytes)
        for name, step in zip(queues, flow.steps, strict=True)
    ]
    bounded += [Queue(f"{exchange}.{key}") for key in others]
    iterations = range(1, rebound_limit + 1)
    topology = Topology(
        exchange,
        tuple(bounded),
        tuple(
            Binding(key, queue.name) for key, queue in zip((*keys, *others), bounded, strict=True)
        ),
        tuple(sorted({rebound_delay_ms(n, rebound_delay_first_ms) for n in iterations})),
    )
    return Wiring(
        topology,
        queues,
        keys,
        error_queue=f"{exchange}.{ERRORS}",
        error_key=ERRORS,
        snapshot_queue=f"{exchange}.{SNAPSHOTS}" if snapshots else "",
        snapshot_key=SNAPSHOTS if snapshots else "",
        outlet_queue=f"{exchange}.{OUTLET}" if outlet else "",
        outlet_key=OUTLET if outlet else "",
    )


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
    snapshot_file: str = "",
) -> dict[str, str]:
    """What the worker of one step is told; see ``runtime/worker/settings.py``.

    ``substitutions`` replaces ``${services.NAME}`` in the step's configuration. ``snapshot_file``,
    as the worker sees it, holds the snapshot that the step's ``process`` is given first.
    """
    step = flow.steps[index]
    last = index == len(flow.steps) - 1
    config = json.dumps(dict(step.config))
    for name, value in substitutions.items():
        config = config.replace(name, json.dumps(value)[1:-1])
    read_later = any(one.passthrough for one in flow.steps[index + 1 :])
    return {
        "ELASTICIO_AMQP_URI": broker_url,
        "ELASTICIO_FLOW_ID": flow.name,
        "ELASTICIO_STEP_ID": step.id,
        "ELASTICIO_COMP_ID": step.component,
        "ELASTICIO_FUNCTION": step.function,
        "ELASTICIO_LISTEN_MESSAGES_ON": wiring.queues[index],
        "ELASTICIO_PUBLISH_MESSAGES_TO": wiring.topology.exchange,
        "ELASTICIO_DATA_ROUTING_KEY": wiring.outlet_key if last else wiring.keys[index + 1],
        "ELASTICIO_ERROR_ROUTING_KEY": wiring.error_key,
        "ELASTICIO_SNAPSHOT_ROUTING_KEY": wiring.snapshot_key,
        "ELASTICIO_RABBITMQ_PREFETCH_SAILOR": str(step.prefetch),
        "ELASTICIO_AMQP_PERSISTENT_MESSAGES": "true" if step.persistent else "false",
        "LOG_LEVEL": step.log_level,
        "HOPBENCH_STEP_INDEX": str(index),
        "HOPBENCH_STEP_CONFIG": config,
        "HOPBENCH_VARIABLES": json.dumps(dict(flow.variables)),
        "HOPBENCH_MAIN": component.functions[step.function].main,
        "HOPBENCH_INPUT_KEY": wiring.keys[index],
        "HOPBENCH_SNAPSHOT_FILE": snapshot_file,
        "HOPBENCH_PASSTHROUGH": "1" if step.passthrough else "",
        "HOPBENCH_CARRY_PASSTHROUGH": "1" if read_later else "",
        "HOPBENCH_ONE_SHOT": "1" if one_shot else "",
        "HOPBENCH_SPOOL": spool,
    }
