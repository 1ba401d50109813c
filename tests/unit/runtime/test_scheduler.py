"""When triggers are called: plans with clocks that the tests set, and the thread with real ones."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import InputError, StateError
from runtime.flows import Trigger, TriggerKind
from runtime.scheduler import Plan, Scheduler, Tick

S = 1_000_000_000
WALL = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")


def every(seconds: float) -> Trigger:
    """A trigger with an interval."""
    return Trigger(TriggerKind.INTERVAL, every_s=seconds)


def cron(line: str) -> Trigger:
    """A trigger with a cron line."""
    return Trigger(TriggerKind.CRON, schedule=line)


class Clocks:
    """Both clocks, moved by hand, and a plan that is looked at whenever it asks for it."""

    def __init__(self, trigger: Trigger, wall: datetime = WALL, zone: tzinfo = UTC) -> None:
        self.at_ns = 500 * S
        self.wall = wall
        self.plan = Plan(trigger, zone, self.at_ns, wall)

    def move(self, seconds: float) -> None:
        """Let time pass without looking."""
        self.at_ns += round(seconds * S)
        self.wall += timedelta(seconds=seconds)

    def look(self) -> Tick | None:
        """Ask the plan."""
        return self.plan.take(self.at_ns, self.wall)

    def ticks(self, seconds: float) -> list[Tick]:
        """What comes while time passes, and the plan is looked at just when it asks for it."""
        end_ns = self.at_ns + round(seconds * S)
        found = []
        while self.plan.next_ns is not None and self.plan.next_ns <= end_ns:
            self.move((self.plan.next_ns - self.at_ns) / S)
            if (tick := self.look()) is not None:
                found.append(tick)
        self.move((end_ns - self.at_ns) / S)
        return found


def test_an_interval_is_ticked_after_each_of_its_lengths() -> None:
    """Ticks are numbered, come at multiples of the interval, and say when they were due."""
    ticks = Clocks(every(2.5)).ticks(10.0)
    assert [tick.sequence for tick in ticks] == [1, 2, 3, 4]
    assert [tick.due_ns - 500 * S for tick in ticks] == [2.5 * S, 5 * S, 7.5 * S, 10 * S]
    assert [tick.due - WALL for tick in ticks] == [timedelta(seconds=2.5 * n) for n in range(1, 5)]
    assert {tick.missed for tick in ticks} == {0}
    assert ticks[0].body() == {
        "sequence": 1,
        "time": "2026-01-01T12:00:02.500+00:00",
        "missed": 0,
    }


def test_nothing_is_ticked_before_its_time() -> None:
    """A plan that is asked too early says nothing and loses nothing."""
    clocks = Clocks(every(1.0))
    clocks.move(0.999)
    assert clocks.look() is None
    clocks.move(0.001)
    tick = clocks.look()
    assert tick is not None
    assert tick.sequence == 1


def test_missed_instants_are_counted_not_bunched() -> None:
    """After 3.7 intervals without a look there is one tick, late for the last of three instants."""
    clocks = Clocks(every(1.0))
    clocks.move(3.7)
    tick = clocks.look()
    assert tick is not None
    assert (tick.sequence, tick.missed, tick.at_ns - tick.due_ns) == (1, 2, 0.7 * S)
    assert clocks.look() is None
    (after,) = clocks.ticks(0.3)
    assert (after.sequence, after.missed, after.due_ns) == (2, 0, 504 * S)


@given(
    st.floats(0.001, 10.0),
    st.lists(st.floats(0.0, 60.0), min_size=1, max_size=30),
)
def test_every_instant_is_ticked_or_missed(every_s: float, pauses: list[float]) -> None:
    """However late a plan is looked at, ticks and misses together are the instants that passed."""
    clocks = Clocks(every(every_s))
    ticks: list[Tick] = []
    for pause in pauses:
        clocks.move(pause)
        if (tick := clocks.look()) is not None:
            ticks.append(tick)
    passed = (clocks.at_ns - 500 * S) // round(every_s * S)
    assert sum(1 + tick.missed for tick in ticks) == passed
    assert all(0 <= tick.at_ns - tick.due_ns < round(every_s * S) for tick in ticks)


def test_setting_the_clock_moves_no_interval() -> None:
    """An interval is counted on the monotonic clock."""
    clocks = Clocks(every(1.0))
    clocks.wall += timedelta(days=400)
    assert len(clocks.ticks(3.0)) == 3


def test_a_cron_line_is_ticked_at_its_instants() -> None:
    """Each quarter of an hour, on the second; nothing in between."""
    ticks = Clocks(cron("*/15 * * * *"), WALL + timedelta(seconds=0.3)).ticks(3600.0)
    assert [tick.due for tick in ticks] == [WALL + timedelta(minutes=15 * n) for n in range(1, 5)]
    assert all(0 <= tick.at_ns - tick.due_ns < 1_000_000 for tick in ticks)
    assert {tick.missed for tick in ticks} == {0}


def test_cron_instants_that_passed_are_counted() -> None:
    """A machine that slept for ten minutes ticks a line of each minute once, nine were missed."""
    clocks = Clocks(cron("* * * * *"))
    clocks.move(600.0)
    tick = clocks.look()
    assert tick is not None
    assert (tick.missed, tick.due) == (9, WALL + timedelta(minutes=10))
    assert [tick.missed for tick in clocks.ticks(120.0)] == [0, 0]


def test_a_clock_set_far_forward_is_followed() -> None:
    """A year in one step is one tick, and the next comes at its time of the new year."""
    clocks = Clocks(cron("* * * * *"))
    clocks.wall += timedelta(days=365, seconds=30)
    clocks.at_ns += 5 * S
    tick = clocks.look()
    assert tick is not None
    assert tick.missed == 999
    (after,) = clocks.ticks(30.0)
    assert after.due == WALL + timedelta(days=365, minutes=1)


def test_a_clock_set_forward_is_noticed_in_seconds() -> None:
    """A line that is not due for hours is looked at again, in case its hour has been set."""
    clocks = Clocks(cron("0 18 * * *"))
    clocks.ticks(60.0)
    clocks.wall += timedelta(hours=7)
    (tick,) = clocks.ticks(5.0)
    assert tick.due == WALL.replace(hour=18)


def test_a_clock_set_back_is_followed() -> None:
    """Two hours back, a line of each minute goes on at once, at the minutes the clock now has."""
    clocks = Clocks(cron("* * * * *"))
    assert len(clocks.ticks(60.0)) == 1
    clocks.wall -= timedelta(hours=2)
    ticks = clocks.ticks(120.0)
    assert [tick.due for tick in ticks] == [
        WALL - timedelta(hours=2) + timedelta(minutes=minute) for minute in (2, 3)
    ]


@pytest.mark.parametrize(
    ("line", "start", "hours", "expected"),
    [
        # 29 March 2026, 02:00 to 03:00 is skipped; 25 October 2026, 02:00 to 03:00 comes twice.
        ("30 2 * * *", (2026, 3, 28, 12), 48, ["2026-03-29T03:00", "2026-03-30T02:30"]),
        ("30 2 * * *", (2026, 10, 24, 12), 48, ["2026-10-25T02:30", "2026-10-26T02:30"]),
        ("0 * * * *", (2026, 10, 25, 0, 30), 4, ["01:00", "02:00", "02:00", "03:00"]),
        ("0 * * * *", (2026, 3, 29, 0, 30), 3, ["01:00", "03:00", "04:00"]),
    ],
)
def test_daylight_saving_time(
    line: str, start: tuple[int, ...], hours: int, expected: list[str]
) -> None:
    """A daily line comes once on the days of the change; an hourly one comes each real hour."""
    first = datetime(*start, tzinfo=BERLIN).astimezone(UTC)  # type: ignore[misc, arg-type]
    ticks = Clocks(cron(line), first, BERLIN).ticks(hours * 3600.0)
    found = [tick.due.astimezone(BERLIN).isoformat()[:16] for tick in ticks]
    assert [one[-len(want) :] for one, want in zip(found, expected, strict=True)] == expected
    gaps = {after.due - before.due for before, after in pairwise(ticks)}
    assert line == "30 2 * * *" or gaps == {timedelta(hours=1)}


@pytest.mark.parametrize("kind", [TriggerKind.WEBHOOK, TriggerKind.NONE])
def test_what_no_clock_calls_is_refused(kind: TriggerKind) -> None:
    """A webhook has no schedule."""
    with pytest.raises(InputError, match="not called by a clock"):
        Plan(Trigger(kind), UTC, 0, WALL)


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait for what another thread does in its own time."""
    deadline_s = time.monotonic() + 20.0
    while not condition():
        assert time.monotonic() < deadline_s, "it did not come about"
        time.sleep(0.005)


@pytest.fixture
def scheduler() -> Iterator[Scheduler]:
    """A scheduler that has ended when the test has."""
    made = Scheduler()
    yield made
    made.close()
    assert "scheduler" not in {thread.name for thread in threading.enumerate()}


def test_flows_are_ticked_side_by_side(scheduler: Scheduler) -> None:
    """20/s for one and 10/s for the other: each gets its own ticks, numbered, none lost."""
    ticks: dict[str, list[Tick]] = {"fast": [], "slow": []}
    scheduler.add("fast", every(0.05), ticks["fast"].append)
    scheduler.add("slow", every(0.1), ticks["slow"].append)
    wait_for(lambda: len(ticks["slow"]) >= 10)
    fast, slow = scheduler.remove("fast"), scheduler.remove("slow")
    assert fast is not None
    assert slow is not None
    for name, counted in (("fast", fast), ("slow", slow)):
        assert counted.ticks == len(ticks[name]) == len(counted.late_ns)
        assert [tick.sequence for tick in ticks[name]] == list(range(1, counted.ticks + 1))
        assert counted.missed == sum(tick.missed for tick in ticks[name])
        assert (counted.failed, counted.error) == (0, None)
        assert all(late_ns >= 0 for late_ns in counted.late_ns)
    for name, length_ns in (("fast", 50_000_000), ("slow", 100_000_000)):
        for before, after in pairwise(ticks[name]):
            assert after.due_ns - before.due_ns == (1 + after.missed) * length_ns


def test_a_cron_line_is_ticked_by_the_thread(scheduler: Scheduler) -> None:
    """A line of each second comes at a whole second of the wall clock."""
    ticks: list[Tick] = []
    scheduler.add("flow", cron("* * * * * *"), ticks.append)
    wait_for(lambda: len(ticks) == 2)
    assert all(tick.due.microsecond == 0 for tick in ticks)
    assert ticks[0].due < ticks[1].due <= datetime.now(UTC)


def test_a_flow_whose_calls_fail_does_not_stop_the_others(scheduler: Scheduler) -> None:
    """What a call raises is counted and kept; the next tick of each flow comes all the same."""
    ticks: list[Tick] = []

    def full(_tick: Tick) -> None:
        raise StateError("the queue is full")

    scheduler.add("failing", every(0.01), full)
    scheduler.add("sound", every(0.01), ticks.append)
    wait_for(lambda: len(ticks) >= 3)
    wait_for(lambda: (found := scheduler.count("failing")) is not None and found.failed >= 3)
    counted = scheduler.remove("failing")
    assert counted is not None
    assert counted.error == "StateError: the queue is full"
    assert counted.failed == counted.ticks


def test_instants_that_pass_during_a_call_are_missed(scheduler: Scheduler) -> None:
    """A call that takes several intervals is followed by one tick that says how many it missed."""
    ticks: list[Tick] = []

    def slow(tick: Tick) -> None:
        ticks.append(tick)
        if len(ticks) == 1:
            time.sleep(0.1)

    scheduler.add("flow", every(0.01), slow)
    wait_for(lambda: len(ticks) >= 2)
    assert ticks[1].missed >= 8


def test_none_is_called_once_it_is_removed(scheduler: Scheduler) -> None:
    """Removing waits for the call that is under way; none comes after it."""
    entered, release = threading.Event(), threading.Event()
    ended: list[int] = []

    def call(tick: Tick) -> None:
        entered.set()
        release.wait(10)
        ended.append(tick.sequence)

    scheduler.add("flow", every(0.01), call)
    assert entered.wait(10)
    threading.Timer(0.05, release.set).start()
    counted = scheduler.remove("flow")
    assert ended == [1]
    assert counted is not None
    assert counted.ticks == 1
    assert scheduler.remove("flow") is None
    assert scheduler.count("flow") is None


def test_a_call_may_remove_its_own_flow(scheduler: Scheduler) -> None:
    """It does not wait for itself."""
    counted: list[object] = []
    scheduler.add("flow", every(0.01), lambda _tick: counted.append(scheduler.remove("flow")))
    wait_for(lambda: len(counted) == 1)
    assert counted[0] is not None
    assert scheduler.count("flow") is None


def test_a_flow_is_added_once(scheduler: Scheduler) -> None:
    """A second schedule for one flow is refused, and so is any after the end."""
    scheduler.add("flow", every(60.0), lambda _tick: None)
    with pytest.raises(StateError, match="ticked already"):
        scheduler.add("flow", every(60.0), lambda _tick: None)
    scheduler.close()
    with pytest.raises(StateError, match="closed"):
        scheduler.add("other", every(60.0), lambda _tick: None)
