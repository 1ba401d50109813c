"""The components that a flow begins and ends with, and those that misbehave on purpose."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from runtime.components import load_component
from scenarios.files import COMPONENTS

Load = Callable[[str, str], ModuleType]
MISBEHAVING = Path(__file__).parents[2] / "data" / "components"


def message(**body: Any) -> dict[str, Any]:
    """A message as the worker hands it over; its body is the load's, changed."""
    body = {"sequence": 7, "delay_ms": None, "data": "xxxx", **body}
    return {"id": "1", "body": body, "headers": {}, "attachments": {}, "passthrough": {}}


@pytest.mark.parametrize("folder", [COMPONENTS, MISBEHAVING])
def test_every_component_folder_loads(folder: Path) -> None:
    """Manifests and files of all components fit together."""
    roots = [path for path in folder.iterdir() if path.is_dir()]
    assert len(roots) >= 5
    for root in roots:
        assert load_component(root).name == root.name


@pytest.mark.parametrize(
    ("own_ms", "delay_ms", "least_ms"), [(0.0, 5.0, 5.0), (4.0, 3.0, 7.0), (2.0, None, 2.0)]
)
def test_wait_takes_no_less_than_it_says(
    component: Load, own_ms: float, delay_ms: float | None, least_ms: float
) -> None:
    """What the configuration and the message ask for is waited, and the body passed on."""
    wait = component("wait", "wait")
    before_ns = time.monotonic_ns()
    found = wait.process(message(delay_ms=delay_ms), {"own_ms": own_ms}, {})
    assert time.monotonic_ns() - before_ns >= least_ms * 1e6
    assert found == {"body": message(delay_ms=delay_ms)["body"]}


def test_the_source_passes_the_body_on(component: Load) -> None:
    """One call gives one message with the body that came in."""
    source = component("source", "tick")
    assert source.process(message(), {}, {}) == {"body": message()["body"]}


def test_the_action_emits_nothing(component: Load) -> None:
    """The last step takes a body of the load and gives nothing."""
    action = component("action", "consume")
    assert action.process(message(), {}, {}) is None


@pytest.mark.parametrize("body", [{"data": None}, {"data": 3}, {"sequence": -1}])
def test_the_action_notices_a_damaged_body(component: Load, body: dict[str, Any]) -> None:
    """A flow that loses what the load sent fails instead of being measured."""
    action = component("action", "consume")
    with pytest.raises(ValueError, match="not a body of the load"):
        action.process(message(**body), {}, {})
    with pytest.raises(KeyError):
        action.process({"body": {"sequence": 1}}, {}, {})


def test_revision_says_which_code_ran(component: Load, tmp_path: Path) -> None:
    """The template stamps its number; a copy that differs in that one line stamps its own."""
    assert component("revision", "stamp").process(message(), {}, {}) == {
        "body": {**message()["body"], "revision": 1}
    }
    first = (COMPONENTS / "revision" / "revision.py").read_text()
    assert first.count("\nREVISION = 1\n") == 1
    (tmp_path / "revision.py").write_text(first.replace("\nREVISION = 1\n", "\nREVISION = 2\n"))
    code = "import revision; print(revision.process({'body': {}}, {}, {})['body'])"
    said = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert said.stdout == "{'revision': 2}\n"


def test_raises_raises(component: Load) -> None:
    """The text can be chosen."""
    with pytest.raises(ValueError, match="boom"):
        component("raises", "run").process(message(), {"text": "boom"}, {})


def test_silent_emits_nothing(component: Load) -> None:
    """It returns, without a result."""
    assert component("silent", "run").process(message(), {}, {}) is None


def test_oversize_is_over_the_limit(component: Load) -> None:
    """Its message is larger than 10 MiB."""
    emitted = component("oversize", "run").process(message(), {}, {})
    assert len(emitted["body"]["data"]) > 10 * 1024 * 1024


def test_slow_passes_the_body_on_after_its_time(component: Load) -> None:
    """It has slept at least as long as it was told to."""
    before_ns = time.monotonic_ns()
    emitted = component("slow", "run").process(message(), {"sleep_s": 0.02}, {})
    assert time.monotonic_ns() - before_ns >= 20_000_000
    assert emitted == {"body": message()["body"]}


def test_hog_stops_at_its_ceiling(component: Load) -> None:
    """Where no limit kills it, it gives up before the machine does."""
    with pytest.raises(MemoryError, match="not killed after 20000000 bytes"):
        component("hog", "run").process(message(), {"ceiling_bytes": 20_000_000}, {})


def test_exits_ends_the_process() -> None:
    """No handler of the interpreter gets in its way."""
    code = "import exits\ntry: exits.process({}, {}, {})\nexcept BaseException: pass"
    ended = subprocess.run([sys.executable, "-c", code], cwd=MISBEHAVING / "exits", check=False)
    assert ended.returncode == 3


def test_hangs_does_not_return() -> None:
    """It is still inside its call when we stop waiting."""
    code = "import hangs\nprint('called', flush=True)\nhangs.process({}, {}, {})"
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=MISBEHAVING / "hangs", stdout=subprocess.PIPE
    )
    with process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"called\n"
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.2)
        finally:
            process.kill()
