"""The class of a start's latencies, and the first steady message: synthetic and recorded ones."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import signal

from reports import steady
from reports.steady import Floats, Steadiness, classify

N = 200
AT = np.arange(N)
CASES = 100
RECORDED = Path(__file__).resolve().parents[2] / "data" / "warmups"
LABELS: dict[str, dict[str, Any]] = tomllib.loads((RECORDED / "labels.toml").read_text())


def starts(level: Callable[[int], float], count: int = 5) -> list[steady.Floats]:
    """Log-normal latencies around a level a message, for several starts."""
    rng = np.random.default_rng(3)
    levels = np.array([level(i) for i in range(N)])
    return [levels * rng.lognormal(0, 0.2, N) for _ in range(count)]


def test_flat() -> None:
    """Latencies of one level are flat from the first message."""
    assert Steadiness(steady.FLAT, 0) == classify(starts(lambda _: 2.0))


def test_first_message_only() -> None:
    """A single slow first message is a warm-up of one message."""
    assert Steadiness(steady.WARM_UP, 1) == classify(starts(lambda i: 20.0 if i < 1 else 2.0))


def test_warm_up() -> None:
    """A faster level from message 60 on is a warm-up of about 60 messages."""
    found = classify(starts(lambda i: 4.0 if i < 60 else 2.0))
    assert found is not None
    assert found.kind == steady.WARM_UP
    assert found.messages == pytest.approx(60, abs=3)


def test_slowdown() -> None:
    """A slower level in the second half is a slowdown."""
    found = classify(starts(lambda i: 2.0 if i < 100 else 3.0))
    assert found is not None
    assert found.kind == steady.SLOWDOWN
    assert found.messages == pytest.approx(100, abs=3)


def test_no_steady_state() -> None:
    """A level that is reached only at the very end is no steady state."""
    assert Steadiness(steady.NONE, None) == classify(starts(lambda i: 2.0 if i < 170 else 9.0))


def test_too_few_messages() -> None:
    """Below twenty messages nothing is said."""
    assert classify([np.ones(19)] * 3) is None
    assert classify([]) is None


def test_not_above_zero() -> None:
    """A latency that has no logarithm gives no class rather than a wrong one."""
    series = np.ones(50)
    series[7] = 0.0
    assert classify([series]) is None


def test_long_series_are_taken_in_blocks() -> None:
    """Of a long start, the first steady message is found to within a block."""
    series = np.where(np.arange(40_000) < 10_000, 4.0, 2.0)
    noise = np.random.default_rng(1).lognormal(0, 0.2, series.size)
    found = classify([series * noise])
    assert found is not None
    assert found.messages == pytest.approx(10_000, abs=200)


def test_cold_and_disturbed() -> None:
    """A single disturbance of ten messages leaves a level what it is, whenever it happens."""
    assert Steadiness(steady.FLAT, 0) == classify(starts(lambda i: 8.0 if 100 <= i < 110 else 2.0))


def test_two_stages_are_one_warm_up() -> None:
    """Where a first level is followed by a second, the steady state begins after both."""
    found = classify(starts(lambda i: 20.0 if i < 5 else 6.0 if i < 40 else 2.0))
    assert found is not None
    assert found.kind == steady.WARM_UP
    assert found.messages == pytest.approx(40, abs=3)


def test_drift_after_a_warm_up() -> None:
    """A warm-up that ends in a drift has no steady state."""
    found = classify(starts(lambda i: 9.0 if i < 20 else 2.0 * 3.0 ** (i / N)))
    assert Steadiness(steady.NONE, None) == found


def disturbed(rng: np.random.Generator, course: Floats, count: int = 5) -> list[Floats]:
    """Starts of a course of log latencies, as they are measured.

    Each has a level of its own, log-normal noise whose neighbours are alike, single outliers of up
    to ten times the latency, and now and then a queue that builds up at once and drains.
    """
    noise = rng.normal(0, 0.2 * np.sqrt(1 - 0.4**2), (count, course.size))
    logs = course + signal.lfilter([1], [1, -0.4], noise) + rng.normal(0, 0.05, (count, 1))
    outliers = rng.random(logs.shape) < 0.02
    logs[outliers] += rng.uniform(1, np.log(10), outliers.sum())
    for start in logs:
        for _ in range(rng.poisson(course.size / 200)):
            queue = np.linspace(2, 0, rng.integers(3, 12))
            at = int(rng.integers(course.size))
            start[at : at + queue.size] += queue[: course.size - at]
    return list(2 * np.exp(logs))


def flat(_: np.random.Generator) -> tuple[Floats, int]:
    """One level."""
    return np.zeros(N), 0


def step_down(rng: np.random.Generator) -> tuple[Floats, int]:
    """Faster at once, by a factor of 1.4 to 4."""
    at = int(rng.uniform(0.05, 0.6) * N)
    return np.where(at > AT, np.log(rng.uniform(1.4, 4)), 0.0), at


def step_up(rng: np.random.Generator) -> tuple[Floats, int]:
    """Slower at once."""
    course, at = step_down(rng)
    return -course, at


def ramp(rng: np.random.Generator) -> tuple[Floats, int]:
    """Faster message by message from the first one on, then level."""
    at = int(rng.uniform(0.15, 0.6) * N)
    return np.log(rng.uniform(1.5, 4)) * np.clip(1 - AT / at, 0, 1), at


def wave(rng: np.random.Generator) -> tuple[Floats, None]:
    """A sine of four to ten periods, 1.25 to 2 times up and down."""
    phase = AT / rng.uniform(20, N / 4) + rng.random()
    return np.log(rng.uniform(1.25, 2)) * np.sin(2 * np.pi * phase), None


def on_and_off(rng: np.random.Generator) -> tuple[Floats, None]:
    """Slow for a fifth to a half of each period."""
    phase = AT / rng.uniform(20, N / 3) + rng.random()
    return np.where(phase % 1 < rng.uniform(0.2, 0.5), np.log(rng.uniform(1.4, 3)), 0.0), None


def saw(rng: np.random.Generator) -> tuple[Floats, None]:
    """Rises throughout each period, and falls at once."""
    phase = AT / rng.uniform(20, N / 3.5) + rng.random()
    return np.log(rng.uniform(1.5, 3)) * (phase % 1), None


def drift_up(rng: np.random.Generator) -> tuple[Floats, None]:
    """Slower throughout, by 1.5 to 3 times in the end: linear, or ever faster."""
    factor = rng.uniform(1.5, 3)
    linear, power = np.log1p((factor - 1) * AT / N), np.log(factor) * (AT / N) ** rng.choice([1, 2])
    return (linear if rng.random() < 0.5 else power), None


def drift_down(rng: np.random.Generator) -> tuple[Floats, None]:
    """Faster throughout: no steady state has been reached yet."""
    return -np.log(rng.uniform(1.5, 3)) * AT / N, None


@pytest.mark.parametrize(
    ("course", "kind"),
    [
        (flat, steady.FLAT),
        (step_down, steady.WARM_UP),
        (step_up, steady.SLOWDOWN),
        (ramp, steady.WARM_UP),
        (wave, steady.NONE),
        (on_and_off, steady.NONE),
        (saw, steady.NONE),
        (drift_up, steady.NONE),
        (drift_down, steady.NONE),
    ],
)
def test_class_is_right_95_times_in_100(
    course: Callable[[np.random.Generator], tuple[Floats, int | None]], kind: str
) -> None:
    """Under realistic noise the class is right, and so is the first steady message.

    A step's is within 2 messages in 90 of 100, a ramp's within a tenth of all messages: its end is
    where its slope drowns in the noise.
    """
    rng = np.random.default_rng(11)
    right, near = 0, 0
    tolerance = N // 10 if course is ramp else 2
    for _ in range(CASES):
        logs, at = course(rng)
        found = classify(disturbed(rng, logs))
        assert found is not None
        right += found.kind == kind
        near += (
            at is not None and found.messages is not None and abs(found.messages - at) <= tolerance
        )
    assert right >= 95
    assert near >= 90 or kind == steady.NONE


@pytest.mark.parametrize("name", LABELS)
def test_recorded(name: str) -> None:
    """Recorded flows have the class and the first steady message they were labelled with."""
    label = LABELS[name]
    series = np.loadtxt(RECORDED / f"{name}.csv", delimiter=",")
    found = classify(list(series.T))
    assert found is not None
    assert found.kind == label["class"]
    if found.messages is None:
        assert "messages" not in label
    else:
        low, high = label["messages"]
        assert low <= found.messages <= high


def test_every_recording_is_labelled() -> None:
    """No recording is left out of the test above."""
    assert {path.stem for path in RECORDED.glob("*.csv")} == set(LABELS)
