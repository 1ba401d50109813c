"""What is measured of executions: one array of milliseconds for each defined figure.

The definitions are those of docs/formats.md; every array has one value an execution, except
``hops``, which has one an execution and hop. All are in the order of the executions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reports.executions import Executions, Floats, Ints, interval_ms

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Hop:
    """A hop and its parts, in ms. Hop 0 is the ingress, from the load generator's SEND."""

    total: Floats
    client_out: Floats
    transit: Floats
    client_in: Floats


def hop(rows: Executions, k: int, mask: Mask) -> Hop:
    """Hop ``k`` of the executions in ``mask``: from emit upstream to process entry at step k."""
    source = rows.send if k == 0 else rows.outputs[k - 1]
    emitted, handed = source[1, mask], source[2, mask]
    delivered, entered = rows.inputs[k, 0, mask], rows.inputs[k, 1, mask]
    return Hop(
        total=interval_ms(entered, emitted),
        client_out=interval_ms(handed, emitted),
        transit=interval_ms(delivered, handed),
        client_in=interval_ms(entered, delivered),
    )


def confirm(rows: Executions, k: int, mask: Mask) -> Floats:
    """From the socket to the broker's confirm, of what hop ``k`` carried; beside the hop."""
    source = rows.send if k == 0 else rows.outputs[k - 1]
    return interval_ms(source[3, mask], source[2, mask])


def confirmed(rows: Executions, k: int) -> Mask:
    """Whether the broker confirmed what hop ``k`` carried."""
    source = rows.send if k == 0 else rows.outputs[k - 1]
    seen: Mask = source[3] != 0
    return seen


def ack(rows: Executions, k: int, mask: Mask) -> Floats:
    """From the end of ``process`` to the ack of its input at step ``k``; beside the hops.

    An input is acked when all that came of it is confirmed.
    """
    return interval_ms(rows.inputs[k, 3, mask], rows.inputs[k, 2, mask])


def acked(rows: Executions, k: int) -> Mask:
    """Whether step ``k`` acked its input."""
    seen: Mask = rows.inputs[k, 3] != 0
    return seen


def hops(rows: Executions, mask: Mask) -> Floats:
    """Hops 1 to N-1 of the executions in ``mask``: all hops of the first one, then of the next."""
    emitted = rows.outputs[:, 1, :][:, mask]
    entered = rows.inputs[1:, 1, :][:, mask]
    return interval_ms(entered, emitted).T.ravel()


def end_to_end(rows: Executions, mask: Mask) -> Floats:
    """From the intended send to the end of the last step."""
    return interval_ms(_ended(rows, mask), rows.send[0, mask])


def uncorrected(rows: Executions, mask: Mask) -> Floats:
    """From the actual send to the end of the last step."""
    return interval_ms(_ended(rows, mask), rows.send[1, mask])


def lag(rows: Executions, mask: Mask) -> Floats:
    """By how much the load generator was behind its schedule: actual minus intended send."""
    return interval_ms(rows.send[1, mask], rows.send[0, mask])


def process(rows: Executions, k: int, mask: Mask) -> Floats:
    """Time inside ``process`` of step ``k``, to its end."""
    return interval_ms(rows.inputs[k, 2, mask], rows.inputs[k, 1, mask])


def component(rows: Executions, mask: Mask) -> Floats:
    """Component time: from process entry to emit in each step, to the end in the last."""
    return interval_ms(_component_ns(rows, mask), np.int64(0))


def overhead(rows: Executions, mask: Mask) -> Floats:
    """End-to-end without component time."""
    whole_ns = _ended(rows, mask) - rows.send[0, mask]
    return interval_ms(whole_ns, _component_ns(rows, mask))


def overhead_between(rows: Executions, mask: Mask) -> Floats:
    """Overhead between containers: without the generator's lag and the ingress."""
    whole_ns = _ended(rows, mask) - rows.inputs[0, 1, mask]
    return interval_ms(whole_ns, _component_ns(rows, mask))


def _ended(rows: Executions, mask: Mask) -> Ints:
    ended: Ints = rows.inputs[-1, 2, mask]
    return ended


def _component_ns(rows: Executions, mask: Mask) -> Ints:
    total = rows.inputs[-1, 2, mask] - rows.inputs[-1, 1, mask]
    for k in range(rows.step_count - 1):
        total = total + (rows.outputs[k, 1, mask] - rows.inputs[k, 1, mask])
    result: Ints = total
    return result
