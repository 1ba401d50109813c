"""When an execution has ended, as a closed loop reads it from the steps' spools."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.load.executions import Executions
from runtime.errors import InputError
from runtime.spans import EMIT, ERROR, OK, PROCESS, REFUSED, UNSETTLED, Spool

TRACE = 7


class Flow:
    """Two steps' spools, and what follows them."""

    def __init__(self, folder: Path) -> None:
        self.paths = [folder / "0.spool", folder / "1.spool"]
        self.spools = [Spool(str(path), step=i, clock="c") for i, path in enumerate(self.paths)]
        self.executions = Executions(self.paths)
        self.executions.sent(TRACE, 100)

    def handled(
        self, step: int, message: int, *outputs: int, outcome: int = OK, emitted: int = OK
    ) -> None:
        """A step has written what it handled, and what it emitted, in one piece."""
        spool, accepted = self.spools[step], len(outputs) if emitted == OK else 0
        records = spool.encode(PROCESS, outcome, accepted, 0, TRACE, message, 0, 1, 2, 3, 4)
        for output in outputs:
            records += spool.encode(EMIT, emitted, 0, 0, TRACE, output, message, 0, 2, 3, 4)
        spool.write(records)

    @property
    def ended(self) -> bool:
        """Whether the execution is seen to have ended."""
        return self.executions.have_ended()


@pytest.fixture
def flow(tmp_path: Path) -> Flow:
    """A flow of two steps with message 100 of execution 7 under way."""
    return Flow(tmp_path)


def test_at_the_last_step(flow: Flow) -> None:
    """It ends when the last step has handled what the first one emitted."""
    assert not flow.ended
    flow.handled(0, 100, 101)
    assert not flow.ended
    flow.handled(1, 101)
    assert flow.ended


def test_a_fast_second_step(flow: Flow) -> None:
    """A step that writes before the one that it got its input from ends nothing yet."""
    flow.handled(1, 101)
    assert not flow.ended
    flow.handled(0, 100, 101)
    assert flow.ended


def test_every_output_counts(flow: Flow) -> None:
    """Of a message that became three, all three must be handled."""
    flow.handled(0, 100, 101, 102, 103)
    flow.handled(1, 103)
    flow.handled(1, 101)
    assert not flow.ended
    flow.handled(1, 102)
    assert flow.ended


@pytest.mark.parametrize("outcome", [ERROR, UNSETTLED])
def test_a_failure_is_an_end(flow: Flow, outcome: int) -> None:
    """A step that fails, or that ends with the message in hand, ends the execution."""
    flow.handled(0, 100, outcome=outcome)
    assert flow.ended


def test_a_refused_output_is_an_end(flow: Flow) -> None:
    """What the next queue did not take is under way nowhere."""
    flow.handled(0, 100, 101, outcome=ERROR, emitted=REFUSED)
    assert flow.ended


def test_a_refused_send_is_an_end(flow: Flow) -> None:
    """What the first queue did not take never began; another execution's refusal is not ours."""
    flow.executions.refused(TRACE - 1)
    assert not flow.ended
    flow.executions.refused(TRACE)
    assert flow.ended


def test_nothing_emitted_is_an_end(flow: Flow) -> None:
    """An execution that a component ends early has ended."""
    flow.handled(0, 100)
    assert flow.ended


def test_half_a_piece(flow: Flow) -> None:
    """A reader that sees a step's first record before its second one does not take it for all."""
    spool = flow.spools[0]
    spool.write(spool.encode(PROCESS, OK, 1, 0, TRACE, 100, 0, 1, 2, 3, 4))
    assert not flow.ended
    record = spool.encode(EMIT, OK, 0, 0, TRACE, 101, 100, 0, 2, 3, 4)
    spool.write(record[:40])
    assert not flow.ended
    spool.write(record[40:])
    flow.handled(1, 101)
    assert flow.ended


def test_the_next_execution_begins_anew(flow: Flow) -> None:
    """What an earlier execution wrote, before or after, does not end the next one."""
    flow.handled(0, 100)
    assert flow.ended
    flow.executions.sent(TRACE + 1, 200)
    flow.handled(0, 100)
    assert not flow.ended


def test_more_than_one_reading(flow: Flow) -> None:
    """Spools that grew by more than is read at once are read to their ends."""
    outputs = range(101, 2101)
    flow.handled(0, 100, *outputs)
    for message in outputs[:-1]:
        flow.handled(1, message)
    assert not flow.ended
    flow.handled(1, outputs[-1])
    assert flow.ended


def test_a_spool_that_is_not_there(tmp_path: Path) -> None:
    """A closed loop by hand that names no spool says what it needs."""
    with pytest.raises(InputError, match="spools of all steps"):
        Executions([tmp_path / "nothing.spool"])
