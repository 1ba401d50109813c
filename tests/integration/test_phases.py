"""What the messages themselves say of a flow that is changed, or whose trigger listens carelessly.

On processes and the embedded NATS server, which every machine has.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

from pyarrow import parquet

from bench.session import run
from scenarios.files import CATALOGUE, load_scenario
from scenarios.model import Profile
from tests.fakes.runs import QUIET, ask, reasons, stored_trial


def observed(folder: Path, index: int) -> Counter[str]:
    """How often each value was seen in the messages of a trial."""
    table = parquet.read_table(folder / "trials" / f"{index:04d}" / "observed.parquet")
    return Counter(table["value"].to_pylist())


def test_a_redeployed_component_is_not_picked_up_before_the_relaunch(tmp_path: Path) -> None:
    """While the next revision is deployed and drafted, every message says the first one."""
    scenario = load_scenario(CATALOGUE / "redeploy.toml")
    scenario = replace(scenario, profiles={"quick": Profile(starts=1, messages=72)})
    result = run(ask(tmp_path / "run", scenario), QUIET)
    trials = [stored_trial(result, index) for index in (1, 2)]
    assert [reasons(trial) for trial in trials] == [[], []]
    assert [trial["phase"]["name"] for trial in trials] == ["first", "relaunched"]
    assert observed(result.folder, 1) == {"1": 72}
    assert observed(result.folder, 2) == {"2": 30}
    deeds = [(deed["deed"], deed["revisions"]["revision"]) for deed in trials[0]["deeds"]]
    assert deeds == [("deploy", 1), ("draft", 1), ("publish", 1), ("deploy", 2), ("draft", 2)]
    during = [deed for deed in trials[0]["deeds"] if deed["revisions"]["revision"] == 2]
    load_start_ns, load_end_ns = trials[0]["load_start_ns"], trials[0]["load_end_ns"]
    assert all(load_start_ns < deed["at_ns"] <= deed["until_ns"] < load_end_ns for deed in during)
    assert trials[0]["flow_digest"] == trials[1]["flow_digest"]


def test_a_careless_trigger_multiplies_events_and_the_trial_is_sound(tmp_path: Path) -> None:
    """Later events come in more copies; nothing of that is lost, or makes the trial invalid."""
    scenario = load_scenario(CATALOGUE / "listen-careless.toml")
    scenario = replace(scenario, profiles={"quick": Profile(starts=1, messages=9)})
    result = run(ask(tmp_path / "run", scenario), QUIET)
    trial = stored_trial(result)
    assert reasons(trial) == []
    copies = observed(result.folder, 1)
    events = sorted(copies, key=int)
    assert copies[events[0]] == 1
    assert max(copies.values()) > 3
