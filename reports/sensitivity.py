"""How a flow answers to one slow step: the derivative of each time by an injected delay.

Messages of one start share its containers, its queues and its machine, and carry the delays in
random order. So the slope is fitted within each start, by least squares, from the messages that
delay this step and those that delay none; what else varies per message (payload, API time) keeps an
intercept of its own (a fixed-effects estimator: W. Greene, "Econometric Analysis", 7th edition,
2012, section 11.4). The figure is the mean of the starts' slopes, its interval is over starts.

A slope of 1 is expected of the whole execution and of the step's own ``process``, 0 of every hop
and of the other steps.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from reports import measures
from reports.cell_figures import single
from reports.cells import Measure
from reports.executions import Executions
from reports.per_start import Agreement, compared, in_words
from reports.records import MessageCellRecord, ScenarioRecord
from reports.stats import Bootstrap, Floats
from reports.trials import Trial

MARGIN = 0.03
"""Slopes that differ from what is expected by no more are as expected."""
LOAD = "load generator"

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Response:
    """A time that may answer to the delay of a step: what it is, of what, and what is expected."""

    kind: str
    name: str
    measure: Measure
    expected: float


def sensitivity(
    scenario: ScenarioRecord, trials: Sequence[Trial], bootstrap: Bootstrap
) -> list[Json] | None:
    """Every delayed step of a scenario and what answers to it; None where no step is delayed."""
    delayed = sorted({cell.delayed_step for cell in scenario.message_cells if cell.delayed_step})
    found = []
    lengths = {len(trial.record.steps) for trial in trials}
    comparisons = sum(len(delayed) * (1 + 2 * length) for length in lengths)
    for containers in sorted(lengths) if delayed else ():
        own = [trial for trial in trials if len(trial.record.steps) == containers]
        ids = [step.id for step in own[0].record.steps]
        for step in sorted((s for s in delayed if s in ids), key=ids.index):
            responses = [
                _slope(step, response, own, bootstrap, comparisons)
                for response in _responses(ids, step)
            ]
            known = [one for one in responses if one is not None]
            if known:
                delays = sorted({d for c in scenario.message_cells if (d := _delay_ms(c, step))})
                found.append({
                    "containers": containers, "step": step, "delays_ms": [0.0, *delays],
                    "margin": MARGIN, "responses": known, **_words(step, known),
                })  # fmt: skip
    return found or None


def _responses(ids: Sequence[str], delayed: str) -> Iterator[Response]:
    def hop(k: int) -> Measure:
        return lambda rows, mask: measures.hop(rows, k, mask).total

    def process(k: int) -> Measure:
        return lambda rows, mask: measures.process(rows, k, mask)

    yield Response("execution", "end to end", measures.end_to_end, 1.0)
    for k, step in enumerate(ids):
        upstream = LOAD if k == 0 else ids[k - 1]
        yield Response("hop", f"{upstream} → {step}", hop(k), 0.0)
        yield Response("process", step, process(k), 1.0 if step == delayed else 0.0)


def _slope(
    step: str,
    response: Response,
    trials: Sequence[Trial],
    bootstrap: Bootstrap,
    comparisons: int,
) -> Json | None:
    slopes: list[float] = []
    messages = 0
    for trial in trials:
        fitted = _within(step, response.measure, trial)
        if fitted is not None:
            slopes.append(fitted[0])
            messages += fitted[1]
    slope = compared(slopes, messages, bootstrap, comparisons=comparisons, signed=True)
    if slope.estimate is None:
        return None
    verdict = slope.agreement(
        expected=response.expected,
        low=response.expected - MARGIN,
        high=response.expected + MARGIN,
    )
    return {
        "kind": response.kind, "name": response.name, "expected": response.expected,
        "slope": single(slope.estimate, "ms/ms"), "verdict": verdict.value,
    }  # fmt: skip


def _within(step: str, measure: Measure, trial: Trial) -> tuple[float, int] | None:
    """The slope within one start and how many messages it comes from; None without any spread."""
    rows = trial.executions
    delays, groups = _by_cell(step, trial.record.message_cells, rows)
    mask = ~np.isnan(delays) & ~rows.cold
    if not mask.any():
        return None
    x, y = delays[mask], measure(rows, mask)
    _, group = np.unique(groups[mask], return_inverse=True)
    x = x - (np.bincount(group, x) / np.bincount(group))[group]
    y = y - (np.bincount(group, y) / np.bincount(group))[group]
    spread = float(x @ x)
    return (float(x @ y) / spread, int(mask.sum())) if spread > 0 else None


def _by_cell(
    step: str, cells: Sequence[MessageCellRecord], rows: Executions
) -> tuple[Floats, npt.NDArray[np.intp]]:
    """Each execution's delay of ``step`` (NaN: another step was delayed), and what else it is."""
    others = sorted({(c.payload_bytes, c.api_delay_ms or 0.0) for c in cells})
    delays = np.array([_delay_ms(cell, step) for cell in cells], dtype=np.float64)
    groups = np.array([others.index((c.payload_bytes, c.api_delay_ms or 0.0)) for c in cells])
    return delays[rows.cell], groups[rows.cell]


def _delay_ms(cell: MessageCellRecord, step: str) -> float | None:
    """What ``step`` is delayed by in a cell; None where the cell delays another step."""
    delay_ms = cell.injected_delay_ms or 0.0
    return delay_ms if cell.delayed_step == step or not delay_ms else None


def _words(step: str, responses: Sequence[Json]) -> Json:
    """One sentence a delayed step: what answers to it otherwise than is expected."""
    apart = [one for one in responses if one["verdict"] == Agreement.DEVIATES]
    open_ = [one for one in responses if one["verdict"] == Agreement.UNDECIDED]
    if apart:
        words = "; ".join(_answer(step, one) for one in apart)
        return {"verdict": Agreement.DEVIATES.value, "words": words}
    if open_:
        names = ", ".join(_what(one) for one in open_)
        words = f"not told by the intervals: how a slower {step} changes {names}"
        return {"verdict": Agreement.UNDECIDED.value, "words": words}
    words = (
        f"each ms that {step} takes longer makes an execution as much longer, and nothing else, "
        f"within {MARGIN:g} ms/ms"
    )
    return {"verdict": Agreement.ALIKE.value, "words": words}


def _answer(step: str, response: Json) -> str:
    slope = in_words(response["slope"])
    if response["expected"]:
        return f"a slower {step} makes {_what(response)} slower by {slope}, not by as much"
    word = "slower" if response["slope"]["value"] > 0 else "faster"
    return f"a slower {step} also makes {_what(response)} {word}: {slope}"


def _what(response: Json) -> str:
    if response["kind"] == "execution":
        return "the whole execution"
    return f"{response['kind']} {response['name']}"
