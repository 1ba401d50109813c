"""Statistics of a flow's queues: what waits, what its steps have, what they have sent back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from runtime.api.control import Control
from runtime.broker.census import Census
from runtime.control.plan import outline
from runtime.control.retention import rebounds, starts
from runtime.store import Store


@dataclass(frozen=True, slots=True)
class QueueStatus:
    """One step's queue. ``unacknowledged`` is None where the broker does not say; ``total`` too.

    ``rebounds`` counts how often the step has sent a message back since the flow's start.
    """

    step: str
    ready: int
    unacknowledged: int | None
    total: int | None
    rebounds: int
    consumers: int


class Statistics:
    """Looks at queues. ``spans`` is the folder that a platform's containers write to."""

    def __init__(
        self, control: Control, store: Store, spans: Path | None, census: Census | None
    ) -> None:
        self._control, self._store, self._spans, self._census = control, store, spans, census

    def of(self, flow: str) -> list[QueueStatus]:
        """A flow's queues, in the order of its steps; none for one that is stopped."""
        depths = self._control.queues(flow)
        entry = self._store.flows.entry(flow)
        if not depths or entry.running is None:
            return []
        version = self._store.flows.version(flow, entry.running)
        queues = outline(self._store, entry.flow_type, version).wiring.queues
        held = self._census() if self._census is not None else {}
        sent_back = rebounds_by_step(self._spans / flow) if self._spans is not None else {}
        found = []
        for index, (queue, step) in enumerate(zip(queues, version.definition.steps, strict=True)):
            depth = depths[step.id]
            ready, unacknowledged = held.get(queue, (depth.ready, depth.unacknowledged))
            total = None if unacknowledged is None else ready + unacknowledged
            found.append(
                QueueStatus(
                    step.id, ready, unacknowledged, total, sent_back.get(index, 0), depth.consumers
                )
            )
        return found


def rebounds_by_step(folder: Path) -> dict[int, int]:
    """Place of a step -> how many messages it sent back, since the last start in a flow's folder.

    Reads the spans of that start's containers; of those that were removed, what was kept of them.
    """
    last = starts(folder)[-1:]
    return rebounds(last[0]) if last else {}
