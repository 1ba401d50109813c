"""The platform on processes and both brokers: what each operation does to containers and messages.

What is shown of docker is in test_platform_docker.py.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from runtime.broker.nats_server import NatsServer
from runtime.broker.node import RabbitNode
from runtime.errors import DefinitionError, HopbenchError, InputError, StateError
from runtime.launch.process import ProcessLauncher
from runtime.model import FlowState, FlowType
from runtime.store.actions import Outcome
from tests.fakes.platforms import EXIT, PAUSE, RAISE, REBOUND, World, wait_for

RUN = "test-platform"
WAITS = """
import os, time

def wait(path):
    while not os.path.exists(path):
        time.sleep(0.01)
"""
GATES = (
    WAITS
    + """
def init(cfg):
    wait(cfg["begin"])
"""
)
MEETS = (
    WAITS
    + """
def init(cfg):
    open(cfg["here"], "w").close()
    wait(cfg["there"])
"""
)
ILLEGAL = {
    "stopped": ("stop", "suspend", "resume"),
    "running": ("start", "resume", "switch"),
    "sleeping": ("start", "resume", "switch"),
    "suspended": ("publish", "start", "suspend", "switch"),
}
"""What each state that lasts does not allow (D1, D3)."""


@pytest.fixture(
    scope="module", params=[pytest.param("rabbitmq", marks=pytest.mark.rabbitmq), "nats"]
)
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A broker's URL."""
    folder = tmp_path_factory.mktemp("broker")
    kind = RabbitNode if request.param == "rabbitmq" else NatsServer
    server = kind.start(RUN, folder)
    yield server.url
    server.stop()


@pytest.fixture
def launcher() -> Iterator[ProcessLauncher]:
    """A launcher that leaves nothing."""
    opened = ProcessLauncher(RUN)
    yield opened
    opened.close()


@pytest.fixture
def world(url: str, launcher: ProcessLauncher, tmp_path: Path) -> Iterator[World]:
    """A platform with the components that most tests use."""
    opened = World(tmp_path / "world", launcher, url)
    opened.component("pass")
    opened.component("pause", PAUSE)
    yield opened
    opened.close()


@pytest.fixture
def brisk(url: str, launcher: ProcessLauncher, tmp_path: Path) -> Iterator[World]:
    """A platform that does not wait for long for containers that go on anyway."""
    opened = World(tmp_path / "brisk", launcher, url, grace_s=0.5)
    opened.component("pass")
    opened.component("pause", PAUSE)
    yield opened
    opened.close()


@pytest.fixture
def impatient(launcher: ProcessLauncher, tmp_path: Path) -> Iterator[World]:
    """A platform on a RabbitMQ that ends a connection that is silent for two or three seconds."""
    with RabbitNode.start(RUN, tmp_path / "node") as node:
        opened = World(tmp_path / "impatient", launcher, f"{node.url}?heartbeat=1")
        yield opened
        opened.close()


@pytest.mark.requirement("D1", "D14")
def test_a_realtime_flow_runs_until_it_is_stopped(world: World) -> None:
    """D1, D14: every step has its container, messages pass, and after stop nothing is left."""
    world.publish("flow", "a=pass", "b=pass", "c=pass")
    assert world.state("flow") == "stopped"
    world.platform.start("flow")
    status = world.platform.status("flow")
    assert (status.entry.state, status.entry.running) == (FlowState.RUNNING, 1)
    assert [(one.id, one.state, len(one.containers)) for one in status.steps] == [
        ("a", "running", 1),
        ("b", "running", 1),
        ("c", "running", 1),
    ]
    sent = world.send("flow", 5)
    wait_for(lambda: world.handled("flow", "c") == sent)
    world.platform.stop("flow")
    status = world.platform.status("flow")
    assert (status.entry.state, status.entry.running, status.steps) == (FlowState.STOPPED, None, ())
    assert world.platform.queues("flow") == {}
    with pytest.raises(StateError, match="is stopped and takes no messages"):
        world.platform.entry_route("flow")


@pytest.mark.requirement("D1")
def test_states_that_are_passed_through_are_seen(
    url: str, launcher: ProcessLauncher, tmp_path: Path
) -> None:
    """D1: a start waits in starting, an end in stopping; each step says what it is doing."""
    begin, taken, end = (tmp_path / name for name in ("begin", "taken", "end"))
    gates = {"begin": str(begin), "taken": str(taken), "end": str(end)}
    world = World(tmp_path / "world", launcher, url, grace_s=30.0)

    def seen() -> tuple[str, ...]:
        status = world.platform.status("flow")
        return (status.entry.state.value, *(step.state.value for step in status.steps))

    with closing(world), ThreadPoolExecutor(1) as pool:
        world.component("pass")
        world.component("gated", "open(cfg['taken'], 'w').close(); wait(cfg['end'])", around=GATES)
        world.publish("flow", {"step": "a=gated", "config": gates}, "b=pass")
        started = pool.submit(world.platform.start, "flow")
        wait_for(lambda: seen() == ("starting", "starting", "running"))
        begin.touch()
        started.result()
        assert seen() == ("running", "running", "running")
        world.send("flow", 1)
        wait_for(taken.exists)
        ended = pool.submit(world.platform.suspend, "flow")
        wait_for(lambda: seen()[:2] == ("stopping", "shutting down"))
        end.touch()
        ended.result()
        assert seen() == ("suspended", "sleeping", "sleeping")


@pytest.mark.requirement("D1", "D3")
def test_what_a_state_does_not_allow_is_refused(world: World) -> None:
    """D1, D3: each operation that a state forbids is refused, and leaves all as it was."""

    def refuses(state: str) -> None:
        before = world.platform.status("flow").entry
        assert before.state.value == state
        for operation in ILLEGAL[state]:
            with pytest.raises(StateError, match=f"'flow' is {state} and cannot be "):
                getattr(world.platform, operation)("flow")
            assert world.platform.status("flow").entry == before

    world.publish("flow", "a=pass")
    world.draft("flow", "a=pass")
    refuses("stopped")
    world.platform.start("flow")
    refuses("running")
    world.platform.suspend("flow")
    refuses("suspended")
    world.platform.stop("flow")
    world.platform.switch("flow")
    world.platform.start("flow")
    refuses("sleeping")
    world.platform.suspend("flow")
    refuses("suspended")


@pytest.mark.requirement("D14")
def test_steps_start_side_by_side(world: World, tmp_path: Path) -> None:
    """D14: containers that each wait for the next one to have begun all come up."""
    world.component("meets", around=MEETS)
    paths = {name: str(tmp_path / name) for name in "abc"}
    steps = [
        {"step": f"{mine}=meets", "config": {"here": paths[mine], "there": paths[other]}}
        for mine, other in ("ab", "bc", "ca")
    ]
    world.publish("flow", *steps)
    world.platform.start("flow")
    assert [step.state.value for step in world.platform.status("flow").steps] == ["running"] * 3


@pytest.mark.requirement("D1", "D14")
def test_stop_drops_and_suspend_keeps(world: World) -> None:
    """D14: what waits is there after suspend and resume, and gone after stop and start."""
    world.publish("flow", "a=pass", "b=pass")
    world.platform.start("flow")
    world.platform.suspend("flow")
    assert world.state("flow") == "suspended"
    assert world.containers("flow") == []
    kept = world.send("flow", 3)
    assert world.waiting("flow") == {"a": 3, "b": 0}
    world.platform.resume("flow")
    wait_for(lambda: world.handled("flow", "b") == kept)
    world.platform.suspend("flow")
    world.send("flow", 4)
    world.platform.stop("flow")
    world.platform.start("flow")
    after = world.send("flow", 1)
    wait_for(lambda: world.handled("flow", "b") == kept + after)
    assert world.waiting("flow") == {"a": 0, "b": 0}
    assert world.platform.errors("flow") == ()


@pytest.mark.requirement("D1", "D2")
def test_a_strict_flow_has_one_container_at_a_time(world: World) -> None:
    """D2, shut-down timeout zero: one container for each message and step, then it sleeps."""
    world.publish("flow", "a=pass", "b=pass", kind="ordinary")
    world.platform.start("flow")
    assert world.state("flow") == "sleeping"
    assert world.containers("flow") == []
    sent = world.send("flow", 2)
    seen: set[int] = set()

    def is_done() -> bool:
        seen.add(len(world.containers("flow")))
        return world.handled("flow", "b") == sent and world.state("flow") == "sleeping"

    wait_for(is_done)
    assert max(seen) == 1
    folders = (world.place.folder / "flow").glob("*/*")
    names = sorted(folder.name for folder in folders)
    assert names == ["flow-a-1", "flow-a-3", "flow-b-2", "flow-b-4"]


@pytest.mark.requirement("D2")
def test_a_warm_flow_keeps_its_containers_for_the_timeout(world: World) -> None:
    """D2: one container handles all that comes, and ends when it has been idle for so long."""
    # While the second step's container starts, the first one's may be idle for long.
    world.publish("flow", "a=pass", "b=pass", kind="ordinary", shutdown_timeout="10 min")
    world.platform.start("flow")
    sent = world.send("flow", 3)
    wait_for(lambda: world.handled("flow", "b") == sent)
    assert world.state("flow") == "running"
    first = world.containers("flow")
    assert len(first) == 2
    sent += world.send("flow", 1)
    wait_for(lambda: world.handled("flow", "b") == sent)
    assert world.containers("flow") == first
    world.publish("flow", "a=pass", "b=pass", kind="ordinary", shutdown_timeout="1 s")
    sent += world.send("flow", 1)
    wait_for(lambda: world.handled("flow", "b") == sent)
    wait_for(lambda: world.state("flow") == "sleeping")
    assert world.containers("flow") == []
    sent += world.send("flow", 1)
    wait_for(lambda: world.handled("flow", "b") == sent)


@pytest.mark.requirement("D2")
def test_a_shutdown_timeout_is_at_most_30_minutes(world: World) -> None:
    """D2: a longer one is refused, and leaves no draft; half an hour is taken."""
    with pytest.raises(DefinitionError, match="at most 30 min"):
        world.draft("flow", "a=pass", kind="ordinary", shutdown_timeout="1801 s")
    assert world.platform.statuses() == ()
    world.draft("flow", "a=pass", kind="ordinary", shutdown_timeout="30 min")
    assert world.platform.status("flow").entry.has_draft


@pytest.mark.requirement("D4")
def test_a_draft_touches_nothing_that_runs(world: World) -> None:
    """D4: after a draft, a deploy and a revert, the same containers run the same version."""
    world.publish("flow", "a=pass", "b=pass")
    world.platform.start("flow")
    before = world.containers("flow")
    world.component("pass", "return {'body': {'new': True}}")
    world.draft("flow", "a=pass", "b=pass", "c=pass")
    world.platform.revert("flow", 1)
    status = world.platform.status("flow")
    assert (status.entry.running, status.entry.has_draft) == (1, True)
    assert world.containers("flow") == before


@pytest.mark.requirement("D4")
def test_publish_replaces_what_runs_and_loses_nothing(world: World) -> None:
    """D4: messages that waited for the old version are handled by the new one."""
    world.publish("flow", "a=pass", {"step": "b=pause", "config": {"sleep_s": 0.2}})
    world.platform.start("flow")
    before = world.containers("flow")
    sent = world.send("flow", 6)
    wait_for(lambda: world.handled("flow", "a") == sent)
    world.publish("flow", "a=pass", "b=pass")
    assert world.platform.status("flow").entry.running == 2
    assert not set(world.containers("flow")) & set(before)
    wait_for(lambda: sorted(set(world.handled("flow", "b"))) == sent)


@pytest.mark.requirement("D4", "D5")
def test_there_is_one_draft_and_an_older_version_can_be_it(world: World) -> None:
    """D4, D5: what is saved takes the draft's place; a version comes back with its own pins."""

    def draft() -> list[str] | None:
        found = world.store.flows.draft("flow")
        return None if found is None else [step.id for step in found.definition.steps]

    world.publish("flow", "a=pass", "b=pass")
    old = world.store.revisions.get("pass").digest
    world.component("pass", "return {'body': {'new': True}}")
    world.publish("flow", "c=pass")
    world.platform.start("flow")
    world.draft("flow", "d=pass")
    world.draft("flow", "e=pass", "f=pass")
    assert draft() == ["e", "f"]
    world.platform.revert("flow", 1)
    assert draft() == ["a", "b"]
    assert world.platform.publish("flow").number == 3
    assert draft() is None
    steps = world.platform.status("flow").steps
    assert [(step.id, step.revision) for step in steps] == [("a", old), ("b", old)]
    sent = world.send("flow", 2)
    wait_for(lambda: world.handled("flow", "b") == sent)


def test_publish_moves_messages_with_their_step(brisk: World) -> None:
    """A step that has another place gets what waited for it; a step that is gone leaves errors."""
    world = brisk
    world.publish("flow", "a=pass", "b=pass", "c=pass")
    world.platform.start("flow")
    world.publish("flow", {"step": "a=pause", "config": {"sleep_s": 60}}, "b=pass", "c=pass")
    held = world.send("flow", 3)
    world.publish("flow", "c=pass", "a=pass")
    assert world.state("flow") == "running"
    wait_for(lambda: world.handled("flow", "a") == held)
    world.publish("flow", {"step": "c=pause", "config": {"sleep_s": 60}}, "a=pass")
    gone = world.send("flow", 2)
    world.publish("flow", "a=pass", "z=pass")
    assert world.failed("flow") == gone
    assert {one.error for one in world.platform.errors("flow")} == {
        "the version that was published has no such step"
    }
    with pytest.raises(InputError, match="which the version that runs does not have"):
        world.platform.retry("flow", world.platform.errors("flow")[0].id)
    assert world.platform.retry("flow") == 0
    assert world.failed("flow") == gone


def test_publish_loses_nothing_of_who_goes_on_sending(world: World) -> None:
    """What is accepted while versions with other queues take over is handled, or an error."""
    layouts = (("a=pass", "b=pass"), ("b=pass", "a=pass"), ("a=pass",))
    world.publish("flow", *layouts[0])
    world.platform.start("flow")
    accepted: list[int] = []
    done = threading.Event()

    def send() -> None:
        while not done.is_set():
            # Where queues are replaced just now, the route leads nowhere for a moment.
            with contextlib.suppress(HopbenchError):
                accepted.extend(world.send("flow", 5))
            done.wait(0.02)

    sender = threading.Thread(target=send)
    sender.start()
    for layout in (*layouts[1:], *layouts):
        world.publish("flow", *layout)
    wait_for(lambda: len(accepted) > 20)
    done.set()
    sender.join()
    wait_for(lambda: not any(world.waiting("flow").values()))
    world.platform.close()
    assert set(accepted) - world.finished("flow") - set(world.failed("flow")) == set()


def test_a_version_that_cannot_run_stops_the_flow(brisk: World) -> None:
    """The publish fails with the reason, which status has too; what waited is kept as errors."""
    world = brisk
    world.component("broken", around="raise RuntimeError('no such thing')")
    world.publish("flow", {"step": "a=pause", "config": {"sleep_s": 60}})
    world.platform.start("flow")
    held = world.send("flow", 2)
    world.draft("flow", "a=broken")
    with pytest.raises(Exception, match="no such thing"):
        world.platform.publish("flow")
    entry = world.platform.status("flow").entry
    assert (entry.state, entry.published, entry.running) == (FlowState.STOPPED, 2, None)
    assert "no such thing" in (entry.reason or "")
    assert world.failed("flow") == held
    world.publish("flow", "a=pass")
    world.platform.start("flow")
    assert world.platform.retry("flow") == 2
    wait_for(lambda: world.handled("flow", "a") == held)
    assert world.platform.errors("flow") == ()


@pytest.mark.requirement("D5")
def test_pins_decide_what_is_started(world: World) -> None:
    """D5: a new revision is used where the step follows the newest, at its next start."""
    steps = ("a=pass", {"step": "b=pass", "follow_newest": True})
    world.publish("flow", *steps)
    old, new = world.store.revisions.get("pass").digest, ""
    world.platform.start("flow")
    world.component("pass", "return {'body': {'new': True}}")
    new = world.store.revisions.get("pass").digest
    assert [one.revision for one in world.platform.status("flow").steps] == [old, old]
    world.platform.stop("flow")
    world.platform.start("flow")
    assert [one.revision for one in world.platform.status("flow").steps] == [old, new]


@pytest.mark.requirement("D5")
@pytest.mark.parametrize("follows", [True, False], ids=["follows", "pinned"])
@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("realtime", {}),
        # The container is kept: there is one that a new revision must leave alone.
        ("ordinary", {"shutdown_timeout": "30 min"}),
        # Each message has a new container, and that is no new start.
        ("ordinary", {}),
    ],
    ids=["realtime", "warm", "strict"],
)
def test_a_revision_comes_with_the_next_publish_resume_or_start(
    world: World, tmp_path: Path, kind: str, more: dict[str, str], follows: bool
) -> None:
    """D5: a new revision handles messages only after that, and only where it is followed."""
    told = tmp_path / "told"

    def deploy(number: int) -> None:
        world.component("stamp", f"open(cfg['to'], 'a').write('{number} ')")

    def handles() -> int:
        """The revision that handles the next message."""
        before = len(told.read_text().split()) if told.exists() else 0
        world.send("flow", 1)
        wait_for(lambda: told.exists() and len(told.read_text().split()) > before)
        return int(told.read_text().split()[-1])

    step = {"step": "a=stamp", "config": {"to": str(told)}, "follow_newest": follows}
    deploy(1)
    world.publish("flow", step, kind=kind, **more)
    world.platform.start("flow")
    assert handles() == 1
    world.draft("flow", step, kind=kind, **more)
    deploy(2)
    assert handles() == 1
    world.platform.publish("flow")
    assert handles() == (2 if follows else 1)
    deploy(3)
    assert handles() == (2 if follows else 1)
    world.platform.suspend("flow")
    world.platform.resume("flow")
    assert handles() == (3 if follows else 1)
    deploy(4)
    assert handles() == (3 if follows else 1)
    world.platform.stop("flow")
    world.platform.start("flow")
    assert handles() == (4 if follows else 1)


@pytest.mark.requirement("D11")
def test_errors_are_kept_and_retried(world: World) -> None:
    """D11: errors outlive the flow; a retry reaches the step of the version that runs then."""
    world.component("raise", RAISE)
    world.publish("flow", "a=pass", "b=raise", "c=pass")
    world.platform.start("flow")
    sent = world.send("flow", 3)
    wait_for(lambda: world.failed("flow") == sent)
    first = world.platform.errors("flow")[0]
    assert (first.step, first.error, first.is_whole) == ("b", f"ValueError: no {sent[0]}", True)
    world.platform.stop("flow")
    with pytest.raises(StateError, match="is stopped and has no queues"):
        world.platform.retry("flow")
    world.publish("flow", "a=pass", "b=pass", "c=pass")
    world.platform.start("flow")
    assert world.platform.retry("flow", first.id) == 1
    wait_for(lambda: world.handled("flow", "c") == sent[:1])
    assert world.platform.retry("flow") == 2
    wait_for(lambda: world.handled("flow", "c") == sent)
    assert world.platform.errors("flow") == ()


@pytest.mark.requirement("D13")
def test_snapshots_are_kept_between_starts(world: World) -> None:
    """D13: what a step counts in its snapshot goes on after a stop; reset only while stopped."""
    count = "context.emit('snapshot', {'n': snapshot.get('n', 0) + 1})"
    world.component("count", count)
    world.publish("flow", "a=count")
    world.platform.start("flow")
    world.send("flow", 3)
    wait_for(lambda: world.store.snapshots.load("flow", "a") == {"n": 3})
    with pytest.raises(StateError, match="only while it is stopped"):
        world.store.snapshots.reset("flow")
    world.platform.suspend("flow")
    with pytest.raises(StateError, match="only while it is stopped"):
        world.store.snapshots.reset("flow")
    assert world.store.snapshots.load("flow", "a") == {"n": 3}
    world.platform.stop("flow")
    world.platform.start("flow")
    world.send("flow", 1)
    wait_for(lambda: world.store.snapshots.load("flow", "a") == {"n": 4})
    world.platform.stop("flow")
    assert world.store.snapshots.reset("flow") == 1
    world.platform.start("flow")
    world.send("flow", 1)
    wait_for(lambda: world.store.snapshots.load("flow", "a") == {"n": 1})


@pytest.mark.requirement("D11")
def test_what_was_sent_back_for_later_is_not_lost(world: World) -> None:
    """D11: a rebound that waits moves with its step at a publish, and is an error at the end."""
    world.component("back", REBOUND)
    world.publish("flow", "a=pass", "b=back")
    world.platform.start("flow")
    sent = world.send("flow", 2)
    wait_for(lambda: world.seen("flow", "b") == set(sent))
    assert world.handled("flow", "b") == []
    world.publish("flow", "a=pass", "c=pass", "b=pause")
    wait_for(lambda: world.handled("flow", "b") == sent)
    world.publish("flow", "a=pass", "b=back")
    held = world.send("flow", 1)
    wait_for(lambda: set(held) < world.seen("flow", "b"))
    world.platform.close()
    assert world.failed("flow") == held


def test_a_step_that_keeps_ending_stops_the_flow(world: World) -> None:
    """It is started again three times; then the flow is stopped with the reason, nothing lost."""
    world.component("exit", EXIT)
    world.publish("flow", "a=exit", "b=pass")
    world.platform.start("flow")
    sent = world.send("flow", 2)
    wait_for(lambda: world.state("flow") == "stopped")
    reason = world.platform.status("flow").entry.reason or ""
    assert "exit code 3" in reason
    assert "started again 3 times within 60 s" in reason
    assert world.failed("flow") == sent
    assert len(list((world.place.folder / "flow").glob("*/flow-a-*"))) == 4


def test_a_container_that_was_killed_is_replaced(world: World, launcher: ProcessLauncher) -> None:
    """One death does not stop the flow: another container is started, and the end is told."""
    world.publish("flow", "a=pass", "b=pass")
    world.platform.start("flow")
    first = world.containers("flow")
    victim = next(one for one in launcher._instances if one.id == first[0])
    assert victim.pid is not None
    os.kill(victim.pid, signal.SIGKILL)
    wait_for(lambda: world.platform.status("flow").steps[0].restarts == 1)
    sent = world.send("flow", 2)
    wait_for(lambda: world.handled("flow", "b") == sent)
    status = world.platform.status("flow")
    assert status.entry.state is FlowState.RUNNING
    assert "exit code 137" in (status.steps[0].error or "")
    assert status.steps[1].containers == (first[1],)


@pytest.mark.requirement("D10")
def test_replicas_share_a_queue(world: World) -> None:
    """D10: a step with three replicas has three containers, and each message is handled once."""
    world.publish("flow", {"step": "a=pause", "replicas": 3, "config": {"sleep_s": 0.05}})
    world.platform.start("flow")
    assert len(world.containers("flow")) == 3
    sent = world.send("flow", 12)
    wait_for(lambda: world.handled("flow", "a") == sent)


@pytest.mark.requirement("D10")
@pytest.mark.parametrize("replicas", [0, 6])
def test_replicas_are_one_to_five(world: World, replicas: int) -> None:
    """D10: fewer or more are refused, and leave no draft; five are taken."""
    with pytest.raises(DefinitionError, match="replicas"):
        world.draft("flow", {"step": "a=pass", "replicas": replicas})
    assert world.platform.statuses() == ()
    world.draft("flow", {"step": "a=pass", "replicas": 5})
    assert world.platform.status("flow").entry.has_draft


@pytest.mark.requirement("D16")
def test_hooks_run_once_from_start_to_stop(world: World, tmp_path: Path) -> None:
    """D16: startup before the first message, shutdown at stop, neither at suspend and resume."""
    said = tmp_path / "said"
    world.component(
        "hooked",
        around=f"""
def say(text):
    with open({str(said)!r}, "a") as file:
        file.write(text + " ")


def startup(cfg):
    say("startup")
    return {{"id": 7}}


def shutdown(cfg, state):
    say(f"shutdown-{{state['id']}}")
""",
    )
    world.publish("flow", "a=hooked", "b=pass")
    world.platform.start("flow")
    world.platform.suspend("flow")
    world.platform.resume("flow")
    assert said.read_text() == "startup "
    world.platform.stop("flow")
    assert said.read_text() == "startup shutdown-7 "
    world.platform.start("flow")
    world.platform.stop("flow")
    assert said.read_text() == "startup shutdown-7 startup shutdown-7 "


@pytest.mark.requirement("D16")
@pytest.mark.rabbitmq
def test_a_shutdown_hook_may_take_longer_than_heartbeats(impatient: World) -> None:
    """A broker that ends silent connections ends none whose flow waits for its hook."""
    around = """
import time

def startup(cfg):
    return {}


def shutdown(cfg, state):
    time.sleep(5.0)
"""
    impatient.component("slow", around=around)
    impatient.publish("flow", "a=slow")
    impatient.platform.start("flow")
    impatient.platform.stop("flow")
    assert impatient.platform.status("flow").entry.reason is None
    assert impatient.platform.history("flow")[0].outcome is Outcome.DONE


@pytest.mark.requirement("D2")
@pytest.mark.rabbitmq
def test_an_idle_container_may_take_longer_than_heartbeats_to_end(impatient: World) -> None:
    """It is idle by its queue and its spans, and still at its message when it is to end."""
    impatient.component("slow", PAUSE)
    step = {"step": "a=slow", "config": {"sleep_s": 5.0}}
    impatient.publish("flow", step, kind="ordinary", shutdown_timeout="1 s")
    impatient.platform.start("flow")
    sent = impatient.send("flow")
    wait_for(lambda: impatient.handled("flow", "a") == sent)
    wait_for(lambda: impatient.state("flow") == "sleeping")
    impatient.platform.stop("flow")
    assert impatient.platform.status("flow").entry.reason is None


@pytest.mark.requirement("D3")
def test_a_type_is_switched_only_while_stopped(world: World) -> None:
    """D3: refused without a version and while it runs; then the other lifecycle is used."""
    world.draft("flow", "a=pass")
    with pytest.raises(StateError, match="no published version and cannot be switched"):
        world.platform.switch("flow")
    world.platform.publish("flow")
    world.platform.start("flow")
    with pytest.raises(StateError, match=r"is running and cannot be switched\. Stop it first"):
        world.platform.switch("flow")
    world.platform.stop("flow")
    assert world.platform.switch("flow").flow_type is FlowType.ORDINARY
    world.platform.start("flow")
    assert world.state("flow") == "sleeping"


def test_two_at_once_take_turns(world: World) -> None:
    """Of two starts at the same time one is refused; flows beside it are started meanwhile."""
    for flow in ("one", "two"):
        world.publish(flow, "a=pass")
    refused: list[str] = []

    def start(flow: str) -> None:
        try:
            world.platform.start(flow)
        except StateError as error:
            refused.append(str(error))

    threads = [threading.Thread(target=start, args=(flow,)) for flow in ("one", "one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 1
    assert "'one' is running and cannot be started" in refused[0]
    assert (world.state("one"), world.state("two")) == ("running", "running")
    outcomes = sorted(str(one.outcome) for one in world.platform.history("one"))
    assert outcomes == ["done", "done", "done", "failed"]


def test_close_stops_what_runs_and_keeps_what_waits(brisk: World) -> None:
    """After close no container lives, every flow is stopped, and messages are among the errors."""
    world = brisk
    world.publish("flow", {"step": "a=pause", "config": {"sleep_s": 60}})
    world.publish("held", "a=pass")
    for flow in ("flow", "held"):
        world.platform.start(flow)
    world.platform.suspend("held")
    sent = {flow: world.send(flow, 2) for flow in ("flow", "held")}
    world.platform.close()
    for flow in ("flow", "held"):
        assert world.state(flow) == "stopped"
        assert world.platform.status(flow).entry.reason == "the platform was closed"
        assert world.failed(flow) == sent[flow]
    with pytest.raises(StateError, match="has been closed"):
        world.platform.start("flow")
    assert {one.outcome for one in world.platform.history()} == {Outcome.DONE}
