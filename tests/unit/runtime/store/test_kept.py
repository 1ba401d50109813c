"""Snapshots and startup states: what is kept for components, and for how long."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runtime.errors import InputError, StateError
from runtime.flows import Definition
from runtime.model import FlowState
from runtime.store import Store
from runtime.store.kept import MOST_BYTES


@pytest.fixture
def flow(store: Store, two_steps: Definition) -> str:
    """A flow with a published version."""
    store.flows.save_draft("flow", two_steps)
    store.flows.publish("flow")
    return "flow"


def test_a_snapshot_is_kept_for_each_step(store: Store, flow: str) -> None:
    """The last one counts; a step without one has an empty one."""
    store.snapshots.save(flow, "first", {"n": 1})
    store.snapshots.save(flow, "first", {"n": 2, "at": None})
    store.snapshots.save(flow, "second", {"n": 3})
    assert store.snapshots.load(flow, "first") == {"n": 2, "at": None}
    assert store.snapshots.load(flow, "second") == {"n": 3}
    assert store.snapshots.load(flow, "third") == {}


def test_snapshots_are_reset_only_while_stopped(store: Store, flow: str) -> None:
    """D13: refused in every other state, and then all are there still."""
    store.snapshots.save(flow, "first", {"n": 1})
    store.snapshots.save(flow, "second", {"n": 1})
    for state in set(FlowState) - {FlowState.STOPPED}:
        store.flows.set_state(flow, set(FlowState), state, running=1)
        with pytest.raises(StateError, match=f"is {state}; snapshots are reset only while"):
            store.snapshots.reset(flow)
    store.flows.set_state(flow, set(FlowState), FlowState.STOPPED)
    assert store.snapshots.reset(flow, "first") == 1
    assert store.snapshots.load(flow, "second") == {"n": 1}
    assert store.snapshots.reset(flow) == 1
    assert store.snapshots.reset(flow) == 0


def test_snapshots_outlive_stops_and_the_platform(store: Store, flow: str, tmp_path: Path) -> None:
    """They are there when the store is opened again."""
    store.snapshots.save(flow, "first", {"n": 1})
    store.close()
    with Store.open(tmp_path / "store") as again:
        assert again.snapshots.load(flow, "first") == {"n": 1}


@pytest.mark.parametrize(
    "snapshot", [{"x": math.nan}, {"x": object()}, {"x": "y" * MOST_BYTES}], ids=["nan", "?", "big"]
)
def test_what_json_cannot_hold_is_refused(
    store: Store, flow: str, snapshot: dict[str, Any]
) -> None:
    """And the snapshot before it stays."""
    store.snapshots.save(flow, "first", {"n": 1})
    with pytest.raises(InputError, match="the snapshot of 'first' "):
        store.snapshots.save(flow, "first", snapshot)
    assert store.snapshots.load(flow, "first") == {"n": 1}


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(
        st.text(),
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(),
    )
)
def test_snapshots_come_back_as_they_were(
    store: Store, flow: str, snapshot: dict[str, Any]
) -> None:
    """Whatever JSON holds, halves of characters and large numbers among it."""
    store.snapshots.save(flow, "first", snapshot)
    assert store.snapshots.load(flow, "first") == snapshot


def test_unknown_flows_have_nothing_kept(store: Store) -> None:
    """An InputError that names the flow, from what would write."""
    for act in (
        lambda: store.snapshots.save("no", "first", {}),
        lambda: store.snapshots.reset("no"),
        lambda: store.startup.put("no", {}),
    ):
        with pytest.raises(InputError, match="there is no flow 'no'"):
            act()


def test_a_startup_state_is_put_once_read_and_deleted(store: Store, flow: str) -> None:
    """The second is refused until the first is gone, as the platform's API answers 409."""
    store.startup.put(flow, {"subscription": 7})
    with pytest.raises(StateError, match=r"has a startup state already\. Delete that one first"):
        store.startup.put(flow, {"subscription": 8})
    assert store.startup.get(flow) == {"subscription": 7}
    assert store.startup.delete(flow)
    assert not store.startup.delete(flow)
    with pytest.raises(InputError, match="flow 'flow' has no startup state"):
        store.startup.get(flow)
    store.startup.put(flow, None)
    assert store.startup.get(flow) is None
