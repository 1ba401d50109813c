"""Flows in the store: drafts, versions, pins, states and types."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from runtime.errors import DefinitionError, InputError, StateError
from runtime.flows import Definition, FlowEntry, Trigger, TriggerKind
from runtime.model import FlowState, FlowType, Step
from runtime.store import Store

Make = Callable[..., Path]


def test_a_first_draft_makes_the_flow(store: Store, two_steps: Definition) -> None:
    """Stopped, ordinary, without a version; the draft pins what is newest."""
    draft = store.flows.save_draft("flow", two_steps)
    assert store.flows.entries() == (
        FlowEntry("flow", FlowType.ORDINARY, FlowState.STOPPED, None, None, True, None),
    )
    assert store.flows.draft("flow") == draft
    assert [(pin.component, pin.number) for pin in draft.pins] == [("one", 1), ("two", 1)]
    assert draft.pins[0].digest == store.revisions.get("one").digest
    assert draft.definition == two_steps


def test_a_draft_is_replaced_and_pinned_anew(
    store: Store, make: Make, two_steps: Definition
) -> None:
    """There is one draft; a deploy does not touch it, saving it again takes the newest."""
    store.flows.save_draft("flow", two_steps)
    store.revisions.deploy(make("two", "2"))
    draft = store.flows.draft("flow")
    assert draft is not None
    assert [pin.number for pin in draft.pins] == [1, 1]
    changed = Definition(two_steps.steps[1:], Trigger(TriggerKind.INTERVAL, every_s=0.1))
    again = store.flows.save_draft("flow", changed)
    assert [(pin.component, pin.number) for pin in again.pins] == [("two", 2)]
    assert store.flows.draft("flow") == again


def test_publishing_makes_versions_and_uses_the_draft_up(
    store: Store, make: Make, two_steps: Definition
) -> None:
    """Numbers 1, 2; each with its definition and its pins, whatever is deployed later."""
    store.flows.save_draft("flow", two_steps)
    first = store.flows.publish("flow")
    assert (first.number, first.definition) == (1, two_steps)
    assert store.flows.draft("flow") is None
    store.revisions.deploy(make("one", "2"))
    store.flows.save_draft("flow", Definition(two_steps.steps[:1]))
    second = store.flows.publish("flow")
    assert [(pin.component, pin.number) for pin in second.pins] == [("one", 2)]
    assert store.flows.versions("flow") == (first, second)
    assert store.flows.version("flow", 1) == first
    entry = store.flows.entry("flow")
    assert (entry.published, entry.has_draft, entry.running) == (2, False, None)


def test_revert_brings_back_a_version_with_its_pins(
    store: Store, make: Make, two_steps: Definition
) -> None:
    """The draft is the old definition, pinned as it was; the versions stay."""
    store.flows.save_draft("flow", two_steps)
    first = store.flows.publish("flow")
    store.revisions.deploy(make("one", "2"))
    store.flows.save_draft("flow", two_steps)
    store.flows.publish("flow")
    store.flows.save_draft("flow", Definition(two_steps.steps[:1]))
    draft = store.flows.revert("flow", 1)
    assert (draft.definition, draft.pins) == (first.definition, first.pins)
    assert store.flows.draft("flow") == draft
    third = store.flows.publish("flow")
    assert (third.number, third.pins) == (3, first.pins)


def test_without_a_draft_there_is_nothing_to_publish_or_discard(
    store: Store, two_steps: Definition
) -> None:
    """A StateError that says what to do, and no version."""
    store.flows.save_draft("flow", two_steps)
    store.flows.discard_draft("flow")
    for act in (store.flows.publish, store.flows.discard_draft):
        with pytest.raises(StateError, match=r"flow 'flow' has no draft\. Save one, or revert"):
            act("flow")
    assert store.flows.versions("flow") == ()


def test_components_that_were_never_deployed_are_all_named(
    store: Store, two_steps: Definition
) -> None:
    """Nothing half done: the flow is not made, an older draft stays."""
    bad = Definition((*two_steps.steps, Step("x", "ten", "do"), Step("y", "nine", "do")))
    with pytest.raises(InputError, match="never deployed: 'nine', 'ten'"):
        store.flows.save_draft("flow", bad)
    assert store.flows.entries() == ()
    draft = store.flows.save_draft("flow", two_steps)
    with pytest.raises(InputError, match="never deployed"):
        store.flows.save_draft("flow", bad)
    assert store.flows.draft("flow") == draft


@pytest.mark.parametrize("name", ["", "Flow", "a b", "x" * 41, "../x", "\ud800", "a\0"])
def test_a_name_that_is_none_is_refused(store: Store, two_steps: Definition, name: str) -> None:
    """For a new flow; whoever looks for such a flow is told that there is none."""
    with pytest.raises(InputError, match="is no name for a flow"):
        store.flows.save_draft(name, two_steps)
    with pytest.raises(InputError, match="there is no flow"):
        store.flows.entry(name)


def test_an_unknown_flow_is_named_by_every_method(store: Store, two_steps: Definition) -> None:
    """With the one that was meant, and those there are."""
    store.flows.save_draft("orders", two_steps)
    flows = store.flows
    for act in (
        lambda: flows.entry("order"),
        lambda: flows.draft("order"),
        lambda: flows.discard_draft("order"),
        lambda: flows.publish("order"),
        lambda: flows.revert("order", 1),
        lambda: flows.version("order", 1),
        lambda: flows.versions("order"),
        lambda: flows.set_type("order", FlowType.REALTIME),
        lambda: flows.set_state("order", FlowState.STOPPED, FlowState.STOPPED),
    ):
        with pytest.raises(InputError, match="no flow 'order'; did you mean 'orders'"):
            act()


@pytest.mark.parametrize("number", [0, -1, 2, 2**80])
def test_an_unknown_version_is_named(store: Store, two_steps: Definition, number: int) -> None:
    """With those there are."""
    store.flows.save_draft("flow", two_steps)
    store.flows.publish("flow")
    for act in (store.flows.version, store.flows.revert):
        with pytest.raises(InputError, match=rf"has no version {number}\. It has 1 to 1"):
            act("flow", number)


def test_the_state_changes_only_from_what_was_expected(store: Store, two_steps: Definition) -> None:
    """Compare and set: the second of two that start the same flow is refused."""
    store.flows.save_draft("flow", two_steps, FlowType.REALTIME)
    store.flows.publish("flow")
    set_state = store.flows.set_state
    entry = set_state("flow", FlowState.STOPPED, FlowState.STARTING, running=1)
    assert (entry.state, entry.running) == (FlowState.STARTING, 1)
    with pytest.raises(StateError, match="flow 'flow' is starting, not stopped"):
        set_state("flow", FlowState.STOPPED, FlowState.STARTING, running=1)
    entry = set_state("flow", {FlowState.STARTING, FlowState.SLEEPING}, FlowState.RUNNING)
    assert (entry.state, entry.running) == (FlowState.RUNNING, 1)
    entry = set_state("flow", set(FlowState), FlowState.STOPPED, reason="its container died")
    assert (entry.running, entry.reason) == (None, "its container died")
    assert set_state("flow", FlowState.STOPPED, FlowState.STOPPED).reason is None


def test_what_runs_is_a_version_that_there_is(store: Store, two_steps: Definition) -> None:
    """No flow leaves the stopped state without a version, or for one that is not there."""
    store.flows.save_draft("flow", two_steps)
    with pytest.raises(StateError, match="cannot be starting without a version that runs"):
        store.flows.set_state("flow", FlowState.STOPPED, FlowState.STARTING)
    with pytest.raises(InputError, match=r"has no version 1\. Publish its draft"):
        store.flows.set_state("flow", FlowState.STOPPED, FlowState.STARTING, running=1)
    assert store.flows.entry("flow").state is FlowState.STOPPED


def test_a_realtime_flow_does_not_sleep(store: Store, two_steps: Definition) -> None:
    """An ordinary one does."""
    for name, kind in (("fast", FlowType.REALTIME), ("slow", FlowType.ORDINARY)):
        store.flows.save_draft(name, two_steps, kind)
        store.flows.publish(name)
        store.flows.set_state(name, FlowState.STOPPED, FlowState.STARTING, running=1)
    with pytest.raises(StateError, match="'fast' is realtime; only ordinary flows sleep"):
        store.flows.set_state("fast", FlowState.STARTING, FlowState.SLEEPING)
    entry = store.flows.set_state("slow", FlowState.STARTING, FlowState.SLEEPING)
    assert entry.state is FlowState.SLEEPING


def test_the_type_is_switched_only_while_stopped_and_published(
    store: Store, two_steps: Definition
) -> None:
    """D3: each condition alone is refused with what to do."""
    store.flows.save_draft("flow", two_steps)
    with pytest.raises(StateError, match=r"no published version\. Publish its draft first"):
        store.flows.set_type("flow", FlowType.REALTIME)
    store.flows.publish("flow")
    assert store.flows.set_type("flow", FlowType.REALTIME).flow_type is FlowType.REALTIME
    store.flows.set_state("flow", FlowState.STOPPED, FlowState.STARTING, running=1)
    with pytest.raises(StateError, match=r"is starting; its type changes only .* Stop it first"):
        store.flows.set_type("flow", FlowType.ORDINARY)
    assert store.flows.entry("flow").flow_type is FlowType.REALTIME


def test_a_draft_does_not_change_the_type(store: Store, two_steps: Definition) -> None:
    """The flow's own type may be said again; another is refused."""
    store.flows.save_draft("flow", two_steps, FlowType.REALTIME)
    store.flows.save_draft("flow", two_steps, FlowType.REALTIME)
    store.flows.save_draft("flow", two_steps)
    with pytest.raises(StateError, match="is realtime, and a draft does not change that"):
        store.flows.save_draft("flow", two_steps, FlowType.ORDINARY)


def test_a_draft_never_touches_what_runs(store: Store, two_steps: Definition) -> None:
    """D4: while a flow runs, drafts come and go, and its state and version stay."""
    store.flows.save_draft("flow", two_steps)
    store.flows.publish("flow")
    before = store.flows.set_state("flow", FlowState.STOPPED, FlowState.RUNNING, running=1)
    store.flows.save_draft("flow", Definition(two_steps.steps[:1]))
    store.flows.discard_draft("flow")
    assert store.flows.entry("flow") == before


def test_documents_are_checked_against_what_is_deployed(
    store: Store, make: Make, two_steps: Definition
) -> None:
    """A function that only an older revision had is a mistake of the document."""
    document = {"steps": [{"id": "first", "component": "one", "function": "go"}]}
    assert store.definition(document) == Definition((replace(two_steps.steps[0], persistent=True),))
    folder = make("one")
    manifest = (folder / "component.json").read_text()
    (folder / "component.json").write_text(manifest.replace('"go"', '"went"'))
    store.revisions.deploy(folder)
    with pytest.raises(DefinitionError, match=r"flow: 1 problem found\n.*no trigger 'go'"):
        store.definition(document, where="flow")


def test_of_many_that_start_a_flow_one_does(store: Store, two_steps: Definition) -> None:
    """Threads that compare and set at once: one succeeds, the others hear the state it made."""
    store.flows.save_draft("flow", two_steps)
    store.flows.publish("flow")
    ready = threading.Barrier(8)
    heard: list[str] = []

    def start() -> None:
        ready.wait()
        try:
            store.flows.set_state("flow", FlowState.STOPPED, FlowState.STARTING, running=1)
        except StateError as error:
            heard.append(error.what)
        else:
            heard.append("started")

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(heard) == ["flow 'flow' is starting, not stopped"] * 7 + ["started"]
