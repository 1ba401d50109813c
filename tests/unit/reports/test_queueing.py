"""Little's law: simulated queues of known length, and records that contradict each other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reports.executions import join
from reports.queueing import Station, observe
from reports.results import analyse
from runtime.spans import PROCESS
from tests.fakes import tiny
from tests.fakes.queues import BASE_NS, Floats, poisson, queue, table, twice, without
from tests.fakes.rundir import Plan, S, describe, store

Columns = dict[str, Any]

SERVICE_S = 0.010


def station(columns: Columns) -> Station:
    """What was seen at the only step of a simulated trial."""
    spans = table(columns)
    (found,) = observe(spans, join(spans, 1))
    assert found is not None
    return found


def evenly(count: int) -> Floats:
    """An arrival every 100 ms."""
    arrivals: Floats = np.arange(count, dtype=np.float64) / 10
    return arrivals


def m_m_1(rate_hz: float, *, seed: int = 1, count: int = 100_000) -> Columns:
    """Poisson arrivals, exponential service times."""
    rng = np.random.default_rng(seed)
    return queue(poisson(rng, rate_hz, count), rng.exponential(SERVICE_S, count))


def m_d_1(rate_hz: float, *, seed: int = 1, count: int = 100_000) -> Columns:
    """Poisson arrivals, constant service times."""
    rng = np.random.default_rng(seed)
    return queue(poisson(rng, rate_hz, count), np.full(count, SERVICE_S))


@pytest.mark.parametrize("rho", [0.3, 0.7])
def test_a_queue_with_exponential_service(rho: float) -> None:
    """M/M/1: rho^2 / (1 - rho) messages wait, rho / (1 - rho) are in the step, each rho served."""
    found = station(m_m_1(rho / SERVICE_S))
    assert found.utilisation == pytest.approx(rho, rel=0.02)
    assert found.queue.inside == pytest.approx(rho**2 / (1 - rho), rel=0.06)
    assert found.step.inside == pytest.approx(rho / (1 - rho), rel=0.06)
    assert found.queue.time_ms == pytest.approx(10 * rho / (1 - rho), rel=0.06)
    assert found.step.time_ms == pytest.approx(10 / (1 - rho), rel=0.06)


@pytest.mark.parametrize("rho", [0.3, 0.7])
def test_a_queue_with_constant_service(rho: float) -> None:
    """M/D/1: half as many wait as in M/M/1 (Pollaczek and Khinchine)."""
    found = station(m_d_1(rho / SERVICE_S))
    assert found.utilisation == pytest.approx(rho, rel=0.02)
    assert found.queue.inside == pytest.approx(rho**2 / (1 - rho) / 2, rel=0.05)
    assert found.waiting_ms == pytest.approx(10 * rho / (1 - rho) / 2, rel=0.05)
    assert found.service_ms == pytest.approx(10.0)


def test_the_law_holds_to_the_nanosecond_once_the_ends_are_counted() -> None:
    """What L and lambda W differ by in sound records is what was inside at the window's ends."""
    found = station(m_m_1(90.0, count=500))
    assert found.queue.difference != pytest.approx(0, abs=1e-6)
    assert found.queue.unexplained == pytest.approx(0, abs=1e-9)
    assert found.step.unexplained == pytest.approx(0, abs=1e-9)


def test_exits_that_are_missing_contradict_the_law() -> None:
    """One input in a hundred was never recorded: L grows, lambda W does not."""
    columns = m_m_1(50.0, count=2000)
    lost = (columns["kind"] == PROCESS) & (columns["trace"] % 100 == 0)
    found = station(without(columns, lost))
    assert found.queue.unmatched == 20
    assert found.queue.unexplained > 1.0


def test_exits_without_an_entry_contradict_the_law() -> None:
    """One message in a hundred was handled twice: the number inside falls below what it is."""
    columns = m_m_1(50.0, count=2000)
    again = (columns["kind"] == PROCESS) & (columns["trace"] % 100 == 0)
    found = station(twice(columns, again))
    assert found.queue.unmatched == 20
    assert found.queue.unexplained < -1.0


def test_an_input_that_was_never_acked_is_still_in_its_step() -> None:
    """Its queue is sound, its step is not."""
    columns = m_m_1(50.0, count=1000)
    columns["t3_ns"][1000 + 400] = 0
    found = station(columns)
    assert found.queue.unexplained == pytest.approx(0, abs=1e-9)
    assert found.step.unmatched == 1
    assert found.step.unexplained > 0.01


def test_waiting_is_only_what_another_message_causes() -> None:
    """Evenly spaced messages with 2 ms of transport are 2 ms in the queue, and wait for nobody."""
    count = 100
    found = station(queue(evenly(count), np.full(count, SERVICE_S), transport_s=0.002))
    assert found.queue.time_ms == pytest.approx(2.0)
    assert found.waiting_ms == 0.0


def test_waiting_behind_one_other_message() -> None:
    """Of two messages that are sent together, the second waits for the first one's service."""
    at = np.repeat(evenly(50), 2)
    found = station(queue(at, np.full(100, SERVICE_S)))
    assert found.waiting_ms == pytest.approx(5.0, rel=0.02)


def test_a_delivery_before_the_write_returned_has_not_waited() -> None:
    """The own service of a message is no wait, even where it was emitted after its delivery."""
    columns = queue(evenly(50), np.full(50, SERVICE_S), transport_s=0.001)
    columns["t1_ns"][10] += 3_000_000
    assert station(columns).waiting_ms == 0.0


def test_the_window_begins_after_the_cold_executions() -> None:
    """A first message that takes a second leaves no trace in the figures."""
    services = np.full(100, SERVICE_S)
    services[0] = 1.0
    at = np.concatenate([[0.0], 2 + np.arange(99) * 0.1])
    found = station(queue(at, services, transport_s=0.001))
    assert found.arrivals == 98
    assert found.service_ms == pytest.approx(10.0)


def test_too_little_to_look_at() -> None:
    """A trial of one message has no window, and no figure."""
    spans = table(queue(np.array([1.0]), np.array([0.01])))
    assert observe(spans, join(spans, 1)) == (None,)


def a_run(root: Path, trials: list[Columns]) -> dict[str, Any]:
    """The results of a run whose trials have these spans."""
    plan = Plan("realtime", "One step", steps=("only",), starts=len(trials))
    made = []
    for index, columns in enumerate(trials, start=1):
        trial = tiny.trial([], index=index, plan=plan)
        trial.spans = columns
        sent = int((columns["kind"] == PROCESS).sum())
        trial.meta["start_ns"], trial.meta["end_ns"] = BASE_NS - S, BASE_NS + 100_000 * S
        trial.meta["accounting"] |= {"sent": sent, "accepted": sent, "handled": sent}
        made.append(trial)
    return analyse(store(root, describe((plan,), made), made))


def only_step(results: dict[str, Any]) -> dict[str, Any]:
    """The figures of the only step."""
    (length,) = results["figures"]["realtime"]["queues"]
    (step,) = length["steps"]
    assert isinstance(step, dict)
    return step


@pytest.mark.parametrize(
    ("rate_hz", "bound"), [(1.0, "idle"), (30.0, "service-bound"), (80.0, "queue-bound")]
)
def test_what_binds_a_step(tmp_path: Path, rate_hz: float, bound: str) -> None:
    """M/M/1 waits longer than its service from a utilisation of a half on; below 5 % it is idle."""
    trials = [m_m_1(rate_hz, seed=seed, count=3000) for seed in range(5)]
    step = only_step(a_run(tmp_path, trials))
    assert step["bound"] == bound
    assert step["queue"]["verdict"] == step["step"]["verdict"] == "holds"
    assert step["utilisation"]["starts"] == 5
    assert step["utilisation"]["low"] < 100 * rate_hz * SERVICE_S < step["utilisation"]["high"]


def test_a_bound_needs_an_interval(tmp_path: Path) -> None:
    """Two starts decide nothing, however clear they are."""
    trials = [m_m_1(80.0, seed=seed, count=3000) for seed in range(2)]
    assert only_step(a_run(tmp_path, trials))["bound"] == "undecided"


def test_a_queue_that_grows_is_not_steady(tmp_path: Path) -> None:
    """Three messages for every two that can be served: what is left at the end explains L."""
    step = only_step(a_run(tmp_path, [m_d_1(150.0, seed=s, count=2000) for s in range(3)]))
    assert step["queue"]["verdict"] == "not steady"
    assert step["queue"]["difference"]["value"] == pytest.approx(
        step["queue"]["ends"]["value"], abs=1e-6
    )


def test_a_contradiction_is_a_problem_of_its_trial(tmp_path: Path) -> None:
    """Messages that were handled twice are named with their trial and their step."""
    trials = [m_m_1(30.0, seed=seed, count=1000) for seed in range(3)]
    again = (trials[1]["kind"] == PROCESS) & (trials[1]["trace"] % 100 == 0)
    trials[1] = twice(trials[1], again)
    results = a_run(tmp_path, trials)
    step = only_step(results)
    assert step["queue"]["verdict"] == "contradicted"
    assert step["queue"]["words"].startswith("trial 2: ")
    named = [p for p in results["problems"] if "the queue of only: L differs" in p]
    assert len(named) == 1
    assert named[0].startswith("trial 2 (realtime)")
