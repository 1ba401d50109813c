"""A worker's handler in the hands of a test: its broker does what the test says."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from runtime.broker import Delivery, Message, QueueDepth, Route, Settled, Topology
from runtime.errors import MessageTooLarge
from runtime.message import Ids, encode_body, encode_headers
from runtime.spans import Spool
from runtime.spool import Records, read_spool
from runtime.worker.component import Context, Loaded
from runtime.worker.handler import Handler
from runtime.worker.settings import read_settings

Process = Callable[[dict[str, Any], dict[str, Any], dict[str, Any], Context], Any]


class BrokerInHand:
    """A broker whose settlements the test makes itself."""

    def __init__(self) -> None:
        self.published: list[tuple[Route, Message, Settled | None]] = []
        self.acked: list[object] = []
        self.rejected: list[object] = []
        self.later_ms: list[int] = []
        self.woken = 0
        self.most_bytes = 2**40

    def publish(self, route: Route, message: Message, settled: Settled | None = None) -> int:
        """Keep it. MessageTooLarge over ``most_bytes``."""
        if len(message.body) > self.most_bytes:
            raise MessageTooLarge(f"more than {self.most_bytes} bytes")
        self.published.append((route, message, settled))
        return 50

    def publish_later(
        self, route: Route, message: Message, delay_ms: int, settled: Settled | None = None
    ) -> int:
        """Keep it, with its delay."""
        self.later_ms.append(delay_ms)
        return self.publish(route, message, settled)

    def settle_all(self, accepted: bool = True) -> None:
        """Say of everything published that it was accepted, or refused."""
        published, self.published = self.published, []
        for _, _, settled in published:
            if settled is not None:
                settled(accepted, 60)

    def ack(self, delivery: Delivery) -> None:
        """Note it."""
        self.acked.append(delivery.tag)

    def reject(self, delivery: Delivery) -> None:
        """Note it."""
        self.rejected.append(delivery.tag)

    def declare(self, topology: Topology) -> None: ...  # noqa: D102
    def delete(self, topology: Topology) -> None: ...  # noqa: D102
    def seal(self, topology: Topology) -> None: ...  # noqa: D102
    def hasten(self, topology: Topology) -> int: ...  # type: ignore[empty-body]  # noqa: D102
    def subscribe(self, queue: str, *, prefetch: int) -> None: ...  # noqa: D102
    def receive(self, timeout_s: float) -> Delivery | None: ...  # noqa: D102
    def settle(self, timeout_s: float) -> bool: ...  # type: ignore[empty-body]  # noqa: D102
    def keep_alive(self) -> None: ...  # noqa: D102
    def wake(self) -> None:
        """Note it."""
        self.woken += 1

    def depth(self, queue: str) -> QueueDepth: ...  # type: ignore[empty-body]  # noqa: D102
    def get(self, queue: str) -> Delivery | None: ...  # noqa: D102
    def close(self) -> None: ...  # noqa: D102


class Bench:
    """A handler around one ``process``, with its broker and its spool."""

    def __init__(
        self,
        folder: Path,
        process: Process,
        handler: type[Handler] = Handler,
        *,
        snapshot: dict[str, Any] | None = None,
        **environment: str,
    ) -> None:
        self.broker = BrokerInHand()
        self.path = folder / "a.spool"
        settings = read_settings(
            {
                "ELASTICIO_AMQP_URI": "amqp://x",
                "ELASTICIO_FLOW_ID": "flow",
                "ELASTICIO_STEP_ID": "step",
                "ELASTICIO_FUNCTION": "run",
                "ELASTICIO_LISTEN_MESSAGES_ON": "queue",
                "ELASTICIO_PUBLISH_MESSAGES_TO": "exchange",
                "ELASTICIO_DATA_ROUTING_KEY": "next",
                "ELASTICIO_ERROR_ROUTING_KEY": "errors",
                "HOPBENCH_INPUT_KEY": "own",
                "HOPBENCH_COMPONENT": "/component",
                "HOPBENCH_MAIN": "main.py",
                **environment,
            }
        )
        context = Context(lambda _event, _payload: None, logging.getLogger("step"), {})
        spool = Spool(str(self.path), step=1, clock="c")
        loaded = Loaded(process)
        self.handler = handler(settings, self.broker, loaded, spool, context, None, snapshot)

    def give(
        self,
        body: Any = None,
        *,
        tag: int = 1,
        redelivered: bool = False,
        extra: dict[str, str | int] | None = None,
    ) -> None:
        """Hand over one message; its trace is its tag."""
        carried = {"x-eio-meta-a": "kept", **(extra or {})}
        headers = {**encode_headers(Ids(tag, 100 + tag, 0), {}), **carried}
        message = Message(encode_body({"body": body}), headers)
        self.hand_over(message, tag=tag, redelivered=redelivered)

    def hand_over(self, message: Message, *, tag: int = 1, redelivered: bool = False) -> None:
        """Hand over one message as it is, as a worker's loop does."""
        self.handler.handle(Delivery(message, tag, 10, redelivered))

    def records(self, kind: int) -> Records:
        """What was recorded of one kind."""
        records = read_spool(self.path).records
        return np.asarray(records[records["kind"] == kind])
