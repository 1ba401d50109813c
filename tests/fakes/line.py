"""A flow's queues on a real broker, and real workers as processes, one by one as a test wants."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from runtime.broker import Broker, Delivery, Message, connect
from runtime.components import load_component
from runtime.message import Ids, decode_body, encode_body, encode_headers
from runtime.model import Flow, Step
from runtime.spool import Records, read_spool
from runtime.wiring import step_environment, wire

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 60.0
MANIFEST = """
{"title": "Of a test", "triggers": {"tick": {"main": "main.py"}},
 "actions": {"run": {"main": "main.py"}}}
"""


def wait_for(condition: Callable[[], bool], what: str) -> None:
    """Wait until something has come about; fail with its name."""
    deadline_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline_s, f"it did not come about: {what}"
        time.sleep(0.02)


class Worker:
    """One worker's process."""

    def __init__(self, environment: Mapping[str, str], spool: Path) -> None:
        self.spool = spool
        self._log = spool.with_suffix(".log")
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "runtime.worker"],
                cwd=ROOT,
                env={**os.environ, **environment},
                stdout=log,
                stderr=log,
            )

    def end(self) -> int:
        """SIGTERM; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def wait(self) -> int:
        """Its exit code, when it has ended by itself."""
        return self.process.wait(PATIENCE_S)

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait(PATIENCE_S)

    def said(self) -> str:
        """What it has written to its streams."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def records(self, kind: int) -> Records:
        """What it has recorded of one kind."""
        records = read_spool(self.spool).records
        return np.asarray(records[records["kind"] == kind])


class Line:
    """Steps ``a``, ``b``, ... of one component each, declared on a broker."""

    def __init__(
        self,
        url: str,
        folder: Path,
        *codes: str,
        steps: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        self.url, self.folder = url, folder
        names = [chr(ord("a") + index) for index in range(len(codes))]
        for name, code in zip(names, codes, strict=True):
            (folder / name).mkdir()
            (folder / name / "component.json").write_text(MANIFEST)
            (folder / name / "main.py").write_text(code)
        self.flow = Flow(
            "line",
            tuple(
                Step(name, name, "run" if index else "tick", **(steps or {}).get(name, {}))
                for index, name in enumerate(names)
            ),
        )
        self.wiring = wire(
            self.flow, folder.name, snapshots=True, rebound_delay_first_ms=300, rebound_limit=3
        )
        self.broker: Broker = connect(url, name="test")
        self.broker.declare(self.wiring.topology)
        self.workers: list[Worker] = []
        self._sent = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for worker in self.workers:
            if worker.process.poll() is None:
                worker.kill()
        self.broker.delete(self.wiring.topology)
        self.broker.close()

    def start(
        self, step: str, *, url: str | None = None, snapshot_file: str = "", **environment: str
    ) -> Worker:
        """Start a worker of a step, and return when it consumes."""
        worker = self.begin(step, url=url, snapshot_file=snapshot_file, **environment)
        queue = self.queue(step)
        wait_for(
            lambda: self.broker.depth(queue).consumers > 0 or worker.process.poll() is not None,
            "the worker consumes",
        )
        assert worker.process.poll() is None, worker.said()
        return worker

    def begin(
        self, step: str, *, url: str | None = None, snapshot_file: str = "", **environment: str
    ) -> Worker:
        """Start a worker of a step, and do not wait for it."""
        index = [one.id for one in self.flow.steps].index(step)
        root = self.folder / step
        spool = self.folder / f"{step}-{len(self.workers)}.spool"
        told = step_environment(
            self.flow,
            index,
            self.wiring,
            load_component(root),
            broker_url=url or self.url,
            spool=str(spool),
            one_shot=False,
            substitutions={},
            snapshot_file=snapshot_file,
        )
        first = {
            "HOPBENCH_COMPONENT": str(root),
            "ELASTICIO_REBOUND_INITIAL_EXPIRATION": "300",
            "ELASTICIO_REBOUND_LIMIT": "3",
        }
        worker = Worker({**told, **first, **environment}, spool)
        self.workers.append(worker)
        return worker

    def queue(self, step: str) -> str:
        """The queue of a step."""
        return self.wiring.queues[[one.id for one in self.flow.steps].index(step)]

    def send(self, body: Any, **headers: str | int) -> None:
        """One message to the first step; its trace is its number from 1."""
        self._sent += 1
        ids = Ids(self._sent, 1000 + self._sent, 0)
        message = Message(encode_body({"body": body}), encode_headers(ids, headers))
        self.broker.publish(self.wiring.entry, message)
        assert self.broker.settle(PATIENCE_S)

    def take(self, queue: str) -> Delivery:
        """The next message of a queue, which has to come."""
        found: list[Delivery] = []

        def look() -> bool:
            delivery = self.broker.get(queue)
            if delivery is not None:
                found.append(delivery)
            return bool(found)

        wait_for(look, f"a message in {queue}")
        return found[0]

    def body(self, queue: str) -> Any:
        """The body of the next message of a queue."""
        return decode_body(self.take(queue).message.body)["body"]

    def ready(self, step: str) -> int:
        """How many messages wait for a step."""
        return self.broker.depth(self.queue(step)).ready
