"""What the messages themselves say: fields of the bodies that a flow's last step has emitted."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from runtime.broker import Broker, Delivery
from runtime.errors import MeasurementError
from runtime.message import decode_body, decode_ids
from runtime.spans import EMIT
from runtime.spool import Records

ABSENT = ""
"""What is stored for a body without the field."""


@dataclass(slots=True)
class Outlet:
    """Takes messages off a flow's outlet, and keeps ``fields`` of their bodies.

    The broker's connection is the caller's own: only the thread that has it may call.
    """

    fields: Sequence[str]
    queue: str
    traces: list[int] = field(default_factory=list)
    messages: list[int] = field(default_factory=list)
    values: dict[str, list[str]] = field(default_factory=dict)

    def drain(self, broker: Broker) -> int:
        """Take all that is there; returns how many there were.

        Raises MeasurementError for a message that is none of a step's.
        """
        taken = 0
        while self.fields and (delivery := broker.get(self.queue)) is not None:
            self._keep(delivery)
            taken += 1
        return taken

    def table(self, records: Records) -> dict[str, Any]:
        """The columns of ``observed.parquet``; ``records`` say when each message was emitted."""
        emits = records[records["kind"] == EMIT]
        emitted_ns = dict(zip(emits["message"].tolist(), emits["t1_ns"].tolist(), strict=True))
        names = list(self.fields)
        return {
            "trace": np.repeat(np.array(self.traces, dtype=np.uint64), len(names)),
            "message": np.repeat(np.array(self.messages, dtype=np.uint64), len(names)),
            "at_ns": np.repeat(
                np.array([emitted_ns.get(one, 0) for one in self.messages], dtype=np.int64),
                len(names),
            ),
            "field": pa.array(names * len(self.messages), pa.string()),
            "value": pa.array(
                [self.values[name][row] for row in range(len(self.messages)) for name in names],
                pa.string(),
            ),
        }

    def _keep(self, delivery: Delivery) -> None:
        try:
            ids = decode_ids(delivery.message.headers)
            found = decode_body(delivery.message.body)["body"]
        except ValueError as error:
            raise MeasurementError(
                f"a message that the last step emitted cannot be read: {error}", where=self.queue
            ) from error
        fields = found if isinstance(found, Mapping) else {}
        self.traces.append(ids.trace)
        self.messages.append(ids.message)
        for name in self.fields:
            self.values.setdefault(name, []).append(_text(fields.get(name)))


def _text(value: object) -> str:
    if value is None:
        return ABSENT
    return value if isinstance(value, str) else json.dumps(value)
