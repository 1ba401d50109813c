"""Small flows beside scenarios: for benchmarks and for the meter's own check, on an open stage."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from bench.floor import offsets_ns
from bench.stage import Stage
from runtime.broker import Message
from runtime.clock import now_ns
from runtime.components import load_component, revision
from runtime.errors import MeasurementError
from runtime.launch import Instance, Launcher, Spec
from runtime.message import Ids, decode_body, encode_body, encode_headers
from runtime.model import Flow, Step
from runtime.modes import Deployment, Started
from scenarios.model import Arrivals

STAMP = Path(__file__).parent / "micro" / "components" / "stamp"
EXPRESSION = '{"sequence": sequence, "delay_ms": delay_ms, "data": data}'
THREE_STEPS = Flow(
    "source-mapper-action",
    (
        Step("source", "source", "tick"),
        Step("mapper", "mapper", "map", {"expression": EXPRESSION}),
        Step("action", "action", "consume"),
    ),
)
HOP = Flow(
    "hop",
    (
        Step("emit", "stamp", "emit"),
        Step("arrive", "stamp", "arrive"),
        Step("end", "stamp", "arrive"),
    ),
)
"""The last step is never started: its queue holds what the hop's two ends have stamped."""
BODY = {"sequence": 1, "delay_ms": None, "data": "x" * 960}
"""About 1 KiB with its envelope."""
ARRIVAL_TIMEOUT_S = 20.0


class Untraced:
    """A launcher whose steps record no spans; all else is the one it is made from."""

    def __init__(self, launcher: Launcher) -> None:
        self._launcher = launcher

    def __getattr__(self, name: str) -> Any:
        """Whatever the launcher has."""
        return getattr(self._launcher, name)

    def start(self, spec: Spec) -> Instance:
        """Start it without a spool."""
        return self._launcher.start(replace(spec, env={**spec.env, "HOPBENCH_SPOOL": ""}))


def deploy(stage: Stage, flow: Flow, name: str, folder: Path, *, traced: bool = True) -> Deployment:
    """Lay a flow onto the stage's broker, its images prepared, its queues declared."""
    roots = {"stamp": STAMP}
    revisions = tuple(
        revision(load_component(roots.get(name, stage.components_root / name)))
        for name in (step.component for step in flow.steps)
    )
    launcher = stage.launcher
    deployment = Deployment(
        flow=flow,
        revisions=revisions,
        images=tuple(launcher.prepare(one) for one in revisions),
        launcher=launcher if traced else cast("Launcher", Untraced(launcher)),
        broker=stage.broker,
        broker_url_inside=stage.place.url_inside,
        folder=folder,
        name=f"{stage.run_id}-{name}",
    )
    deployment.declare()
    return deployment


def send(stage: Stage, deployment: Deployment, number: int) -> None:
    """Publish one message to the flow's first queue."""
    headers = encode_headers(Ids(trace=number, message=number, parent=0), {})
    message = Message(encode_body({"body": BODY}), headers)
    stage.broker.publish(deployment.wiring.entry, message)
    stage.broker.receive(0.0)


class RuntimeHop:
    """Two steps of a running flow with one hop between them, stamped by the component itself."""

    def __init__(self, stage: Stage, name: str, folder: Path, *, traced: bool = True) -> None:
        self._stage = stage
        self._deployment = deploy(stage, HOP, name, folder, traced=traced)
        self._sent = 0
        self._started: list[Started] = []

    def __enter__(self) -> RuntimeHop:
        """Start both steps; they may or may not have spans, so that the broker is asked."""
        for index in (0, 1):
            self._started.append(self._deployment.start_step(index, one_shot=False))
        deadline_s = time.monotonic() + ARRIVAL_TIMEOUT_S
        queues = self._deployment.wiring.queues[:2]
        while not all(self._stage.broker.depth(queue).consumers for queue in queues):
            if time.monotonic() > deadline_s:
                self.__exit__()
                raise MeasurementError("the steps of the hop do not consume", where=str(queues))
            time.sleep(0.02)
        return self

    def __exit__(self, *_: object) -> None:
        """Stop both steps and remove the queues."""
        for started in self._started:
            started.instance.stop(grace_s=5.0)
        self._deployment.remove()

    def batch(self, messages: int, rate_hz: float, seed: int) -> tuple[int, ...]:
        """Send messages as the bare source does; nanoseconds from emit to process of each."""
        start_ns = now_ns() + 20_000_000
        for offset_ns in offsets_ns(Arrivals.POISSON, rate_hz, messages, seed):
            time.sleep(max(0, start_ns + offset_ns - now_ns()) / 1e9)
            self._sent += 1
            send(self._stage, self._deployment, self._sent)
        return tuple(self._arrived() for _ in range(messages))

    def _arrived(self) -> int:
        broker, queue = self._stage.broker, self._deployment.wiring.queues[2]
        deadline_s = time.monotonic() + ARRIVAL_TIMEOUT_S
        while (delivery := broker.get(queue)) is None:
            if time.monotonic() > deadline_s:
                logs = " ".join(started.instance.logs() for started in self._started)
                raise MeasurementError("a message did not arrive", where=queue, remedy=logs)
            time.sleep(0.005)
        body = decode_body(delivery.message.body)["body"]
        return int(body["arrive_ns"]) - int(body["emit_ns"])
