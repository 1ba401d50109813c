"""The flow state machine against a model of it, on parts in memory: fast, so many sequences."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import cast

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from runtime.errors import HopbenchError, StateError
from runtime.flows import LEGAL, FlowEntry, Operation
from runtime.launch import Launcher
from runtime.model import FlowState, FlowType
from runtime.store.actions import Outcome
from tests.fakes.flow_parts import MemoryLauncher, MemoryServer
from tests.fakes.platforms import World

FLOW = "flow"
ENDS_IN = {
    Operation.STOP: FlowState.STOPPED,
    Operation.SUSPEND: FlowState.SUSPENDED,
    Operation.SWITCH: FlowState.STOPPED,
}
LAYOUTS = (("a=pass", "b=pass"), ("b=pass",), ("a=pass", "c=pass", "b=pass"))


class Model(RuleBasedStateMachine):
    """One flow; the model knows its state, type, versions and draft."""

    server: MemoryServer

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="flow-model-"))
        self.launcher = MemoryLauncher()
        self.world = World(self.folder / "world", cast("Launcher", self.launcher), "memory://")
        self.world.component("pass")
        self.world.draft(FLOW, *LAYOUTS[0], kind="ordinary")
        self.state, self.type = FlowState.STOPPED, FlowType.ORDINARY
        self.versions, self.has_draft = 0, True
        self.is_broken = False
        self.sent = self.dropped = 0

    def up(self) -> FlowState:
        """What a flow of this type is when it is up, and has nothing to do."""
        return FlowState.RUNNING if self.type is FlowType.REALTIME else FlowState.SLEEPING

    @rule(layout=st.sampled_from(LAYOUTS))
    def draft(self, layout: tuple[str, ...]) -> None:
        """Legal always, and changes nothing else."""
        self.world.draft(FLOW, *layout, kind=self.type.value)
        self.has_draft = True

    @rule(broken=st.booleans())
    def break_containers(self, broken: bool) -> None:
        """From now on no container can be started, or all can."""
        self.is_broken = broken
        self.launcher.refuse = lambda _: broken

    @rule(operation=st.sampled_from([one for one in Operation if one is not Operation.DRAFT]))
    def operate(self, operation: Operation) -> None:
        """Done exactly where the model says so; a failure stops the flow and says why."""
        expected = self._expected(operation)
        try:
            if operation is Operation.REVERT:
                self.world.platform.revert(FLOW, 1)
            else:
                getattr(self.world.platform, operation)(FLOW)
        except HopbenchError as error:
            if isinstance(error, StateError) or operation is Operation.REVERT:
                assert expected is None
                return
            assert self.is_broken
            assert expected is FlowState.RUNNING
            self.state = FlowState.STOPPED
            assert "cannot be started" in (self._entry().reason or "")
        else:
            assert expected is not None
            self.state = expected
        self._note(operation)

    @rule(count=st.integers(1, 3))
    def send(self, count: int) -> None:
        """Taken wherever there are queues: nothing consumes from those of a realtime flow here."""
        if self.type is FlowType.REALTIME and self.state is not FlowState.STOPPED:
            self.sent += len(self.world.send(FLOW, count))

    @invariant()
    def it_is_as_the_model_says(self) -> None:
        """State, type, versions, draft, containers and messages."""
        entry = self._entry()
        assert (entry.state, entry.flow_type) == (self.state, self.type)
        assert (entry.published or 0, entry.has_draft) == (self.versions, self.has_draft)
        waiting = sum(self.world.waiting(FLOW).values())
        assert waiting + len(self.world.failed(FLOW)) + self.dropped == self.sent
        steps = len(self.world.platform.status(FLOW).steps)
        alive = steps if self.state is FlowState.RUNNING else 0
        assert len(self.launcher.alive()) == alive
        assert (self.server.queues == {}) == (self.state is FlowState.STOPPED)

    def teardown(self) -> None:
        """After close all is stopped, and every action has an end."""
        self.world.platform.close()
        assert self._entry().state is FlowState.STOPPED
        assert self.launcher.alive() == []
        assert self.server.queues == {}
        outcomes = {one.outcome for one in self.world.platform.history(limit=1000)}
        assert outcomes <= {Outcome.DONE, Outcome.FAILED}
        self.world.close()
        shutil.rmtree(self.folder)

    def _expected(self, operation: Operation) -> FlowState | None:
        """The state that an operation ends in; None where it is refused."""
        if operation is Operation.REVERT:
            return self.state if self.versions else None
        if self.state not in LEGAL[operation]:
            return None
        if operation in {Operation.START, Operation.SWITCH} and not self.versions:
            return None
        if operation is Operation.PUBLISH:
            return self.state if self.has_draft else None
        return ENDS_IN.get(operation, self.up())

    def _note(self, operation: Operation) -> None:
        if operation is Operation.PUBLISH:
            self.versions, self.has_draft = self.versions + 1, False
        elif operation is Operation.REVERT:
            self.has_draft = True
        elif operation is Operation.SWITCH:
            both = list(FlowType)
            self.type = both[1 - both.index(self.type)]
        elif operation is Operation.STOP:
            self.dropped = self.sent - len(self.world.failed(FLOW))

    def _entry(self) -> FlowEntry:
        return self.world.platform.status(FLOW).entry


def test_operations_are_legal_exactly_where_the_table_says(server: MemoryServer) -> None:
    """Random sequences, with containers that cannot be started now and then."""
    Model.server = server
    run_state_machine_as_test(
        Model,
        settings=settings(
            max_examples=40,
            stateful_step_count=25,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.parametrize("operation", list(Operation))
def test_every_operation_says_what_to_do_instead(world: World, operation: Operation) -> None:
    """Refused in each state that it is not legal in: with the state's name, and a remedy."""
    world.publish(FLOW, "a=pass")
    flows = world.store.flows
    for state in set(FlowState) - LEGAL[operation] - {FlowState.SLEEPING}:
        running = None if state is FlowState.STOPPED else 1
        flows.set_state(FLOW, set(FlowState), state, running=running)
        with pytest.raises(StateError) as refused:
            getattr(world.platform, operation)(FLOW)
        assert f"is {state} and cannot be" in str(refused.value)
        assert refused.value.remedy
        assert refused.value.exit_code == 2
    flows.set_state(FLOW, set(FlowState), FlowState.STOPPED)
