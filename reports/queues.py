"""What ``results.json`` says of the queues of a realtime scenario: Little's law, and what binds.

**Idle**: the step holds a message for less than 5 % of the time, so hardly ever does a message find
another before it, and nothing is said of a bound. Else a step is **queue-bound** where a message
waits behind others for longer than its own service takes, and **service-bound** where it waits for
less; undecided where the interval spans the two. With Poisson arrivals a message waits for
rho (1 + c^2) / (2 (1 - rho)) service times (Pollaczek and Khinchine; L. Kleinrock, "Queueing
Systems", volume 1, 1975, section 5.6), so the border lies at a utilisation of 1/2 where service
times are exponential, and of 2/3 where they are constant.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from reports.cell_figures import single
from reports.per_start import in_words, over_starts
from reports.queueing import Law, Station
from reports.stats import Bootstrap, Estimate
from reports.trials import Trial
from reports.verdict import describe_one

IDLE = 0.05
"""Utilisation below which a step is called idle."""
TOLERANCE = 0.05
"""L and lambda W agree where they differ by no more than this share."""
UNEXPLAINED = 0.01
"""Share of lambda W that the window's ends may leave unexplained in a trial."""

Json = dict[str, Any]


def queue_figures(trials: Sequence[Trial], bootstrap: Bootstrap) -> list[Json]:
    """The queues of a realtime scenario's valid trials, by the number of containers."""
    found = []
    for containers in sorted({len(trial.record.steps) for trial in trials}):
        own = [trial for trial in trials if len(trial.record.steps) == containers]
        steps = [_step(step.id, own, step.index, bootstrap) for step in own[0].record.steps]
        if any(steps):
            found.append({
                "containers": containers,
                "starts": len(own),
                "steps": [step for step in steps if step is not None],
            })  # fmt: skip
    return found


def contradictions(trial: Trial) -> list[str]:
    """Queues and steps of a trial whose records contradict each other, in words."""
    return [
        f"{what} of {step.id}: {_contradiction(law, station.arrivals)}"
        for step, station in zip(trial.record.steps, trial.stations, strict=False)
        if station is not None
        for what, law in (("the queue", station.queue), ("the step", station.step))
        if abs(law.unexplained) > UNEXPLAINED
    ]


def _contradiction(law: Law, messages: int) -> str:
    left = describe_one(100 * abs(law.unexplained), "%", starts=1, messages=messages)
    words = f"L differs from lambda W, and nothing explains {left} of lambda W"
    if law.unmatched:
        words += f": {law.unmatched} records of an entry or an exit have no counterpart"
    return words


def _step(step_id: str, trials: list[Trial], k: int, bootstrap: Bootstrap) -> Json | None:
    seen = [(t, t.stations[k]) for t in trials if k < len(t.stations)]
    stations = [(trial, station) for trial, station in seen if station is not None]
    if not stations:
        return None
    messages = sum(station.arrivals for _, station in stations)

    def figure(value: Callable[[Station], float]) -> Estimate | None:
        return over_starts([value(station) for _, station in stations], messages, bootstrap)

    utilisation = figure(lambda s: 100 * s.utilisation)
    share = None
    if all(station.service_ms > 0 for _, station in stations):
        share = figure(lambda s: s.waiting_ms / s.service_ms)
    bound, words = _bound(utilisation, share)
    return {
        "id": step_id,
        "arrivals": single(figure(lambda s: s.queue.arrivals_per_s), "/s"),
        "utilisation": single(utilisation, "%"),
        "in_queue": single(figure(lambda s: s.queue.time_ms), "ms"),
        "waiting": single(figure(lambda s: s.waiting_ms), "ms"),
        "service": single(figure(lambda s: s.service_ms), "ms"),
        "waiting_over_service": single(share, "x"),
        "bound": bound,
        "words": words,
        "queue": _law([(t, s, s.queue) for t, s in stations], bootstrap),
        "step": _law([(t, s, s.step) for t, s in stations], bootstrap),
    }


def _bound(utilisation: Estimate | None, share: Estimate | None) -> tuple[str, str]:
    if utilisation is None or share is None:
        return "undecided", "no service time was seen"
    busy = f"it holds a message {in_words(single(utilisation, '%'))} of the time"
    if utilisation.high is not None and utilisation.high < 100 * IDLE:
        return "idle", f"{busy}: hardly any message finds another before it"
    waits = f"{busy}, and a message waits {in_words(single(share, 'x'))} its service"
    if share.low is None or share.high is None:
        return "undecided", waits
    if share.low > 1:
        return "queue-bound", waits
    if share.high < 1:
        return "service-bound", waits
    return "undecided", waits


def _law(laws: list[tuple[Trial, Station, Law]], bootstrap: Bootstrap) -> Json:
    messages = sum(station.arrivals for _, station, _ in laws)

    def figure(value: Callable[[Law], float], unit: str) -> Json | None:
        values = [value(law) for *_, law in laws]
        return single(over_starts(values, messages, bootstrap, signed=unit == "%"), unit)

    inside = sum(law.inside for *_, law in laws)
    expected = sum(law.expected for *_, law in laws)
    share = abs(inside - expected) / expected
    difference = figure(lambda law: 100 * law.difference, "%")
    verdict, words = "holds", f"L is lambda W within {max(100 * share, 0.01):.2g} %"
    if share > TOLERANCE:
        verdict = "not steady"
        words = (
            f"L is away from lambda W by {in_words(difference)}: messages that were inside when "
            "the window began or ended explain it, so the system was not in a steady state"
        )
    trial, station, worst = max(laws, key=lambda one: abs(one[2].unexplained))
    if abs(worst.unexplained) > UNEXPLAINED:
        verdict = "contradicted"
        words = f"trial {trial.record.index}: {_contradiction(worst, station.arrivals)}"
    return {
        "inside": figure(lambda law: law.inside, "messages"),
        "expected": figure(lambda law: law.expected, "messages"),
        "time": figure(lambda law: law.time_ms, "ms"),
        "difference": difference,
        "ends": figure(lambda law: 100 * law.ends / law.expected, "%"),
        "unmatched": sum(law.unmatched for *_, law in laws),
        "verdict": verdict,
        "words": words,
    }
