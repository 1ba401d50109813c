"""A platform on real parts for tests: components made on the spot, messages sent, spans read."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from runtime.broker import Message, connect
from runtime.control.plan import Place
from runtime.launch import Launcher
from runtime.message import Ids, encode_body, encode_headers
from runtime.model import FlowType
from runtime.platform import Platform
from runtime.spans import OK, PROCESS
from runtime.spool import SpoolTail
from runtime.store import BUSY_TIMEOUT_S, Store

WAIT_S = 60.0
PASS = "return {'body': msg['body']}"
PAUSE = "import time; time.sleep(cfg.get('sleep_s', 0)); return {'body': msg['body']}"
RAISE = "raise ValueError('no ' + str(msg['body']['n']))"
EXIT = "import os; os._exit(3)"
REBOUND = "context.emit('rebound', 'later')"


class World:
    """A store, a platform on it, and what a test does with them."""

    def __init__(
        self,
        folder: Path,
        launcher: Launcher,
        url: str,
        url_inside: str = "",
        *,
        busy_timeout_s: float = BUSY_TIMEOUT_S,
        **options: Any,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.url = url
        self.store = Store.open(folder / "store", busy_timeout_s=busy_timeout_s)
        self.place = Place(launcher, url, url_inside or url, folder / "runs", **options)
        self.platform = Platform(self.store, self.place)
        self._count = 0

    def component(self, name: str, body: str = PASS, *, around: str = "") -> None:
        """Deploy a component whose ``process`` has this body; ``around`` is code of its module."""
        folder = self.folder / "components" / name
        folder.mkdir(parents=True, exist_ok=True)
        main = {"main": "main.py"}
        manifest = {"title": name, "triggers": {"go": main}, "actions": {"do": main}}
        (folder / "component.json").write_text(json.dumps(manifest))
        (folder / "main.py").write_text(
            f"{around}\n\ndef process(msg, cfg, snapshot, context):\n    {body}\n"
        )
        self.platform.deploy(folder)

    def draft(
        self, flow: str, *steps: str | Mapping[str, Any], kind: str = "realtime", **more: Any
    ) -> None:
        """Save a draft; a step is ``ID=COMPONENT``, or a table with ``step`` written like that."""
        tables: list[dict[str, Any]] = []
        for one in steps:
            told: dict[str, Any] = {"step": one} if isinstance(one, str) else dict(one)
            name, _, component = told.pop("step").partition("=")
            function = "do" if tables else "go"
            tables.append({"id": name, "component": component, "function": function, **told})
        self.platform.save_draft(flow, {"steps": tables, **more}, FlowType(kind))

    def publish(
        self, flow: str, *steps: str | Mapping[str, Any], kind: str = "realtime", **more: Any
    ) -> None:
        """Save a draft and publish it."""
        self.draft(flow, *steps, kind=kind, **more)
        self.platform.publish(flow)

    def send(self, flow: str, count: int = 1) -> list[int]:
        """Publish messages to a flow; the numbers (traces) of those that the broker took."""
        route = self.platform.entry_route(flow)
        taken: list[int] = []
        with closing(connect(self.url, name="test")) as broker:
            for _ in range(count):
                self._count += 1
                number = self._count

                def settled(accepted: bool, _: int, number: int = number) -> None:
                    if accepted:
                        taken.append(number)

                ids = Ids(number, secrets.randbits(60) | 1, 0)
                body = encode_body({"body": {"n": number}})
                broker.publish(route, Message(body, encode_headers(ids, {})), settled)
            assert broker.settle(WAIT_S)
        return sorted(taken)

    def state(self, flow: str) -> str:
        """The flow's state."""
        return self.platform.status(flow).entry.state.value

    def containers(self, flow: str) -> list[str]:
        """Ids of the containers that the platform says are there."""
        steps = self.platform.status(flow).steps
        return [container for step in steps for container in step.containers]

    def handled(self, flow: str, step: str) -> list[int]:
        """Traces of the messages that a step has handled without an error, since ever."""
        return sorted(trace for trace, _ in self._processed(flow, step))

    def finished(self, flow: str) -> set[int]:
        """Traces of the messages that some step has handled without one coming of it."""
        return {trace for trace, emitted in self._processed(flow, "*") if not emitted}

    def seen(self, flow: str, step: str) -> set[int]:
        """Traces of the messages that a step was given, whatever became of them."""
        return {trace for trace, _ in self._processed(flow, step, outcomes=range(256))}

    def _processed(
        self, flow: str, step: str, outcomes: Iterable[int] = (OK,)
    ) -> list[tuple[int, int]]:
        """Trace and number of emitted messages for each that was handled with these outcomes."""
        found: list[tuple[int, int]] = []
        for spool in (self.place.folder / flow).glob(f"*/*-{step}-*/spans.spool"):
            records = SpoolTail(spool).new_records()
            done = records[records["kind"] == PROCESS]
            done = done[np.isin(done["outcome"], list(outcomes))]
            found += zip(done["trace"].tolist(), done["aux"].tolist(), strict=True)
        return found

    def failed(self, flow: str) -> list[int]:
        """Traces of the messages among the flow's errors, where their message is kept."""
        found = []
        self.platform.errors(flow, 1)  # What a stop has left to be collected is waited for.
        for entry in self.store.failures.entries(flow, limit=1_000_000):
            cause = self.store.failures.cause(flow, entry.id)
            if cause is not None:
                found.append(int(cause["headers"]["threadId"], 16))
        return sorted(found)

    def waiting(self, flow: str) -> dict[str, int]:
        """How many messages wait for each step."""
        return {step: depth.ready for step, depth in self.platform.queues(flow).items()}

    def close(self) -> None:
        """Close the platform and its store."""
        self.platform.close()
        self.store.close()


def wait_for(what: Callable[[], object], *, timeout_s: float = WAIT_S) -> None:
    """Return when something has become true; fail when it does not."""
    deadline = time.monotonic() + timeout_s
    while not what():
        assert time.monotonic() < deadline, "it has not become true in time"
        time.sleep(0.02)
