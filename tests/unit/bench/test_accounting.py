"""What became of every message: each outcome planted and found."""

from __future__ import annotations

import numpy as np
import pytest

from bench.accounting import account
from runtime.spans import EMIT, ERROR, OK, PROCESS, REFUSED, SEND, UNSETTLED
from runtime.spool import DTYPE, Records

LOAD = 0xFFFF


def _records(*rows: tuple[int, int, int, int, int, int]) -> Records:
    """Rows of kind, outcome, step, trace, message, parent."""
    records = np.zeros(len(rows), dtype=DTYPE)
    for record, row in zip(records, rows, strict=True):
        for name, value in zip(
            ("kind", "outcome", "step", "trace", "message", "parent"), row, strict=True
        ):
            record[name] = value
    return records


def _through(trace: int, *, steps: int = 3) -> list[tuple[int, int, int, int, int, int]]:
    """An execution that goes through all steps."""
    rows = [(SEND, OK, LOAD, trace, 100 * trace, 0)]
    for step in range(steps):
        message = 100 * trace + step
        rows.append((PROCESS, OK, step, trace, message, 0))
        if step < steps - 1:
            rows.append((EMIT, OK, step, trace, message + 1, message))
    return rows


def test_all_handled() -> None:
    """Executions that reach the last step are handled, and nothing else."""
    counts = account(_records(*_through(1), *_through(2)), steps=3)
    assert (counts.sent, counts.accepted, counts.handled) == (2, 2, 2)
    assert (counts.refused, counts.failed, counts.lost, counts.duplicated) == (0, 0, 0, 0)
    assert counts.ended_early == 0


@pytest.mark.parametrize("missing", [1, 3, 5])
def test_lost_wherever_it_was(missing: int) -> None:
    """An execution with a message that no step finished is lost, in whichever step."""
    rows = _through(1)
    assert rows[missing][0] == PROCESS
    counts = account(_records(*rows[:missing], *_through(2)), steps=3)
    assert (counts.handled, counts.lost) == (1, 1)


def test_unsettled_is_lost() -> None:
    """A message that its step could not settle before it ended is lost."""
    rows = _through(1)
    rows[-1] = (PROCESS, UNSETTLED, *rows[-1][2:])
    assert account(_records(*rows), steps=3).lost == 1


def test_an_output_that_was_never_settled_is_lost() -> None:
    """A step that was killed with an output under way reported no error: lost, not failed."""
    rows = [
        *_through(1)[:1],
        (PROCESS, UNSETTLED, 0, 1, 100, 0),
        (EMIT, UNSETTLED, 0, 1, 101, 100),
    ]
    counts = account(_records(*rows), steps=3)
    assert (counts.handled, counts.failed, counts.lost) == (0, 0, 1)


def test_failed() -> None:
    """An execution with an error is failed, not lost, whatever is missing after it."""
    rows = [*_through(1)[:3], (PROCESS, ERROR, 1, 1, 101, 0)]
    counts = account(_records(*rows), steps=3)
    assert (counts.handled, counts.failed, counts.lost) == (0, 1, 0)


def test_refused_output_is_a_failure() -> None:
    """An output that the broker refused makes its execution failed."""
    rows = [*_through(1)[:2], (EMIT, REFUSED, 0, 1, 101, 100)]
    counts = account(_records(*rows), steps=3)
    assert (counts.failed, counts.lost) == (1, 0)


def test_refused_send_is_not_accepted() -> None:
    """What the first queue refused was sent, but never accepted."""
    counts = account(_records((SEND, REFUSED, LOAD, 1, 100, 0), *_through(2)), steps=3)
    assert (counts.sent, counts.accepted, counts.refused, counts.lost) == (2, 1, 1, 0)


def test_silent_component() -> None:
    """An execution that ends because nothing was emitted is handled, and counted as such."""
    counts = account(_records(*_through(1)[:2]), steps=3)
    assert (counts.handled, counts.ended_early, counts.lost) == (1, 1, 0)


def test_duplicate() -> None:
    """A message that one step handled twice is counted."""
    rows = _through(1)
    assert account(_records(*rows, rows[1]), steps=3).duplicated == 1


def test_what_leaves_the_flow_is_nobodys_input() -> None:
    """A message that the last step emits is handled by no step, and not lost for that."""
    rows = [*_through(1), (EMIT, OK, 2, 1, 900, 102)]
    counts = account(_records(*rows), steps=3)
    assert (counts.handled, counts.lost) == (1, 0)


def test_nothing() -> None:
    """No spans, no messages."""
    assert account(_records(), steps=3).sent == 0
