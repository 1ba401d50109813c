"""What is said of a flow's queues."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.api.queues import QueueStatus, Statistics, rebounds_by_step
from runtime.broker import QueueDepth
from runtime.broker.census import Held
from runtime.control.plan import outline
from runtime.spans import OK, PROCESS, REBOUND, Spool
from runtime.store import Store
from tests.fakes.control import FakeControl


def write_spool(folder: Path, step: int, *outcomes: int) -> None:
    """A container's spans: a PROCESS for each outcome."""
    folder.mkdir(parents=True)
    spool = Spool(str(folder / "spans.spool"), step=step, clock="clock")
    for number, outcome in enumerate(outcomes):
        spool.write(spool.encode(PROCESS, outcome, 0, 0, 0, number, 0, 1))
    spool.close()


def test_rebounds_are_those_of_the_last_start(tmp_path: Path) -> None:
    """All containers of a step count; earlier starts do not, also where a name sorts after."""
    write_spool(tmp_path / "18a-9" / "one", 0, REBOUND)
    write_spool(tmp_path / "18a-10" / "one", 0, OK, REBOUND, REBOUND)
    write_spool(tmp_path / "18a-10" / "two", 0, REBOUND)
    write_spool(tmp_path / "18a-10" / "three", 1, OK)
    assert rebounds_by_step(tmp_path) == {0: 3}


def test_a_flow_that_never_started(tmp_path: Path) -> None:
    """Where there are no spans, nothing was sent back."""
    assert rebounds_by_step(tmp_path / "nowhere") == {}


@pytest.mark.parametrize("is_told", [True, False])
def test_what_the_broker_does_not_say_is_null(
    store: Store, control: FakeControl, flow: str, is_told: bool
) -> None:
    """With a census both counts are from it; without one, what consumers have is not known."""
    entry = store.flows.entry(flow)
    version = store.flows.version(flow, 1)
    (queue,) = outline(store, entry.flow_type, version).wiring.queues
    statistics = Statistics(
        control, store, None, (lambda: {queue: Held(5, 2)}) if is_told else None
    )
    assert control.queues(flow) == {"first": QueueDepth(1, 1)}
    told, untold = QueueStatus("first", 5, 2, 7, 0, 1), QueueStatus("first", 1, None, None, 0, 1)
    assert statistics.of(flow) == [told if is_told else untold]
