"""Faults, injected delays and the kind of loop: what a scenario file may say of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.errors import ScenarioError
from scenarios.faults import fault_document
from scenarios.files import load_scenario
from scenarios.model import Freeze, Loop, MessageCell, NetworkDelay

FLOW = """
name = "faulty"
title = "A flow to which something is done"
flow_type = "{flow_type}"
[[steps]]
id = "source"
component = "source"
function = "tick"
[[steps]]
id = "action"
component = "action"
function = "consume"
[load]
rate = "50/s"
payload = "1 KiB"
{load}
[profiles.quick]
starts = 3
messages = 10
{more}
"""


def load(folder: Path, more: str = "", load: str = "", flow_type: str = "realtime") -> object:
    """The scenario of FLOW with what is added to it."""
    path = folder / "faulty.toml"
    path.write_text(FLOW.format(load=load, more=more, flow_type=flow_type))
    return load_scenario(path)


def test_faults_are_read_with_their_units(tmp_path: Path) -> None:
    """Seconds of a freeze, milliseconds of a delay, whatever unit the file has them in."""
    faults = """
    [[faults]]
    kind = "freeze"
    step = "action"
    after = "500 ms"
    for = "6 s"
    [[faults]]
    kind = "network delay"
    step = "source"
    delay = "0 ms"
    """
    found = load(tmp_path, faults).faults  # type: ignore[attr-defined]
    assert found == (Freeze("action", 0.5, 6.0), NetworkDelay("source", 0.0))
    assert fault_document(found[0]) == {
        "kind": "freeze", "step": "action", "after_s": 0.5, "for_s": 6.0,
    }  # fmt: skip
    assert fault_document(found[1]) == {"kind": "network delay", "step": "source", "delay_ms": 0.0}


def test_each_step_is_delayed_by_each_delay(tmp_path: Path) -> None:
    """The cells of a start are all pairs; each takes its delay longer."""
    vary = '[vary]\ndelayed_step = ["source", "action"]\ninjected_delay = ["0 ms", "5 ms"]\n'
    cells = load(tmp_path, vary).message_cells()  # type: ignore[attr-defined]
    assert cells == (
        MessageCell(1024, None, "source", 0.0),
        MessageCell(1024, None, "source", 5.0),
        MessageCell(1024, None, "action", 0.0),
        MessageCell(1024, None, "action", 5.0),
    )
    assert [cell.delay_ms for cell in cells] == [0.0, 5.0, 0.0, 5.0]


def test_messages_of_a_start_ask_for_network_delays(tmp_path: Path) -> None:
    """Without a delay of its own, a fault holds each message as its cell says: in and out."""
    found = load(tmp_path, VARIED + ASKING)
    assert found.faults == (NetworkDelay("action", None),)  # type: ignore[attr-defined]
    cells = found.message_cells()  # type: ignore[attr-defined]
    assert [cell.network_delay_ms for cell in cells] == [0.0, 5.0]
    assert [cell.delay_ms for cell in cells] == [0.0, 10.0]
    assert fault_document(found.faults[0])["delay_ms"] is None  # type: ignore[attr-defined]


def test_a_loop_is_open_unless_it_is_asked_for_closed(tmp_path: Path) -> None:
    """A closed loop is a choice, and one of several generators cannot be one."""
    assert load(tmp_path).load.loop is Loop.OPEN  # type: ignore[attr-defined]
    closed = load(tmp_path, load='loop = "closed"')
    assert closed.load.loop is Loop.CLOSED  # type: ignore[attr-defined]
    with pytest.raises(ScenarioError, match="a closed loop is one generator"):
        load(tmp_path, load='loop = "closed"\nprocesses = 2')
    with pytest.raises(ScenarioError, match="a closed loop needs a realtime flow"):
        load(tmp_path, load='loop = "closed"', flow_type="ordinary")


def test_only_what_keeps_running_can_be_frozen(tmp_path: Path) -> None:
    """The containers of an ordinary flow live for one message: freezing one is a mistake."""
    with pytest.raises(ScenarioError, match="a freeze needs a realtime flow"):
        load(tmp_path, FREEZE.format(step="action", time="6 s"), flow_type="ordinary")


FREEZE = '[[faults]]\nkind = "freeze"\nstep = "{step}"\nafter = "1 s"\nfor = "{time}"\n'
ASKING = '[[faults]]\nkind = "network delay"\nstep = "action"\n'
VARIED = '[vary]\nnetwork_delay = ["0 ms", "5 ms"]\n'
DELAY = '[[faults]]\nkind = "network delay"\nstep = "action"\ndelay = "5 ms"\n'


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (FREEZE.format(step="acton", time="6 s"), "no step 'acton'; did you mean 'action'"),
        (FREEZE.format(step="action", time="0 s"), "'0 s' is too small; it must be above 0"),
        (DELAY + DELAY, "'action' is delayed already"),
        ('[[faults]]\nkind = "fire"\nstep = "action"\n', "'fire' is unknown"),
        (ASKING, r"faults\[0\].delay: is required: there is no \[vary\] network_delay"),
        (VARIED, "vary.network_delay: says nothing without a fault of kind"),
        (VARIED + DELAY, "vary.network_delay: says nothing without a fault of kind"),
        (
            VARIED + ASKING + ASKING.replace("action", "source"),
            r"faults\[1\].delay: is required: only one step can do without",
        ),
        ('[vary]\ndelayed_step = ["action"]\n', "says nothing without injected_delay"),
        ('[vary]\ninjected_delay = ["1 ms"]\n', "says nothing without delayed_step"),
        (
            '[vary]\ndelayed_step = ["mapper"]\ninjected_delay = ["1 ms"]\n',
            r"vary.delayed_step\[0\]: there is no step 'mapper'; the steps are source, action",
        ),
        (
            '[vary]\ncontainers = [2]\ndelayed_step = ["action"]\ninjected_delay = ["1 ms"]\n',
            "cannot be varied together with containers",
        ),
    ],
)
def test_mistakes_are_named_with_their_line(tmp_path: Path, more: str, expected: str) -> None:
    """Each is a ScenarioError that names the file, the line and the key."""
    with pytest.raises(ScenarioError, match=expected) as caught:
        load(tmp_path, more)
    assert "faulty.toml:" in str(caught.value)
