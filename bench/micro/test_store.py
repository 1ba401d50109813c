"""The store's operations, on disk, in a store of 100 flows with 3 versions each."""

from __future__ import annotations

import contextlib
import itertools
import shutil
import sqlite3
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.environment import ROOT
from runtime.flows import Definition
from runtime.model import FlowState, FlowType, Step
from runtime.store import Store
from runtime.store.actions import Outcome

COMPONENTS = ROOT / "scenarios" / "components"
FLOWS, VERSIONS, ROUNDS = 100, 3, 100
FLOW = "flow-50"
DEFINITION = Definition(
    (
        Step("source", "source", "tick"),
        Step("mapper", "mapper", "map", {"expression": "$"}),
        Step("action", "action", "consume"),
    )
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A store as a busy platform has it."""
    with Store.open(tmp_path_factory.mktemp("store")) as opened:
        for step in DEFINITION.steps:
            opened.revisions.deploy(COMPONENTS / step.component)
        for number in range(FLOWS):
            for _ in range(VERSIONS):
                opened.flows.save_draft(f"flow-{number}", DEFINITION)
                opened.flows.publish(f"flow-{number}")
        yield opened


@pytest.fixture(scope="module")
def commit_us(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], float]]:
    """Times one commit of one row that reaches the disk: what the disk itself takes."""
    path = tmp_path_factory.mktemp("floor") / "floor.sqlite"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as bare:
        bare.execute("PRAGMA journal_mode = WAL")
        bare.execute("PRAGMA synchronous = FULL")
        bare.execute("CREATE TABLE floor (at INTEGER)")

        def commit() -> float:
            begin_ns = time.perf_counter_ns()
            bare.execute("INSERT INTO floor VALUES (?)", (begin_ns,))
            return (time.perf_counter_ns() - begin_ns) / 1e3

        yield commit


def nothing() -> None:
    """What most operations need before them."""


Operation = tuple[Callable[[], object], Callable[[], object]]


@pytest.fixture
def operations(store: Store, tmp_path: Path) -> dict[str, Operation]:
    """Each operation, and what must have been done before each of its calls."""
    component = tmp_path / "mapper"
    shutil.copytree(COMPONENTS / "mapper", component)
    flows, revisions, actions = store.flows, store.revisions, store.actions
    serial = itertools.count()
    # What is set to what it was is written nowhere, and would cost nothing.
    types = itertools.cycle((FlowType.REALTIME, FlowType.ORDINARY))
    reasons = itertools.cycle(("a container died", None))
    begun: list[int] = []
    stopped = FlowState.STOPPED
    return {
        "deploy": (
            lambda: revisions.deploy(component),
            lambda: (component / "version.txt").write_text(str(next(serial))),
        ),
        "deploy the same": (lambda: revisions.deploy(COMPONENTS / "action"), nothing),
        "revisions of a version": (lambda: revisions.of(flows.version(FLOW, 1)), nothing),
        "save a draft": (lambda: flows.save_draft(FLOW, DEFINITION), nothing),
        "publish": (lambda: flows.publish(FLOW), lambda: flows.save_draft(FLOW, DEFINITION)),
        "revert": (lambda: flows.revert(FLOW, 1), nothing),
        "set a state": (
            lambda: flows.set_state(FLOW, stopped, stopped, reason=next(reasons)),
            nothing,
        ),
        "switch": (lambda: flows.set_type(FLOW, next(types)), nothing),
        "save a snapshot": (
            lambda: store.snapshots.save(FLOW, "source", {"at": next(serial), "of": "a" * 1000}),
            nothing,
        ),
        "load a snapshot": (lambda: store.snapshots.load(FLOW, "source"), nothing),
        "begin an action": (lambda: actions.begin(FLOW, "start"), nothing),
        "end an action": (
            lambda: actions.end(begun.pop(), Outcome.DONE),
            lambda: begun.append(actions.begin(FLOW, "start")),
        ),
        "history": (lambda: actions.history(FLOW), nothing),
        "list 100 flows": (flows.entries, nothing),
    }


@pytest.mark.parametrize(
    "operation",
    [
        "deploy",
        "deploy the same",
        "revisions of a version",
        "save a draft",
        "publish",
        "revert",
        "set a state",
        "switch",
        "save a snapshot",
        "load a snapshot",
        "begin an action",
        "end an action",
        "history",
        "list 100 flows",
    ],
)
def test_store(
    benchmark: BenchmarkFixture,
    store: Store,
    operations: dict[str, Operation],
    operation: str,
    commit_us: Callable[[], float],
) -> None:
    """One operation, each call on its own, with all that brings it to the disk."""
    assert len(store.flows.entries()) == FLOWS
    act, before = operations[operation]
    floors_us: list[float] = []

    def prepare() -> None:
        before()
        floors_us.append(commit_us())

    benchmark.pedantic(  # type: ignore[no-untyped-call]
        act, setup=prepare, rounds=ROUNDS, warmup_rounds=3
    )
    benchmark.extra_info["floor_us"] = statistics.median(floors_us)
