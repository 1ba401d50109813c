"""The front door as a user walks through it: measure, report, judge, each as a program."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

ROOT = Path(__file__).parents[2]

SCENARIO = """
name = "tiny"
title = "A tiny flow"
flow_type = "realtime"
[[steps]]
id = "source"
component = "source"
function = "tick"
[[steps]]
id = "action"
component = "action"
function = "consume"
[load]
arrivals = "constant"
rate = "50/s"
payload = "1 KiB"
[profiles.quick]
starts = 3
messages = 20
"""

BROKEN = """
name = "broken"
titel = "misspelt"
flow_type = "realtime"
[[steps]]
id = "source"
component = "nowhere"
function = "tick"
[load]
arrivals = "constant"
rate = "50 ms"
payload = "1 KiB"
[vary]
payload = []
[profiles.quick]
starts = "three"
messages = 20
"""


def _bench(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bench", *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=300.0,
    )


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small run on processes and the embedded NATS server, made by the program itself."""
    folder = tmp_path_factory.mktemp("e2e")
    scenario = folder / "tiny.toml"
    scenario.write_text(SCENARIO)
    out = folder / "run"
    done = _bench(
        "run", str(scenario), "--launcher", "process", "--broker", "nats", "--seed", "3",
        "--out", str(out),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(out)
    assert "Traceback" not in done.stderr
    return out


def test_report(measured: Path) -> None:
    """The report's path is printed; page and results are there, and speak of this run."""
    done = _bench("report", str(measured))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == str((measured / "index.html").resolve())
    results = json.loads((measured / "results.json").read_text())
    run = json.loads((measured / "run.json").read_text())
    assert results["run_id"] == run["run_id"]
    assert results["counts"]["messages"] == 60
    assert "tiny" in results["figures"]
    assert run["run_id"] in (measured / "index.html").read_text()


def test_every_claim_is_judged(measured: Path) -> None:
    """All S rows are there; none of those about containers is met on processes."""
    _bench("report", str(measured))
    claims = {c["id"]: c for c in json.loads((measured / "results.json").read_text())["claims"]}
    assert sorted(claims, key=lambda one: int(one[1:])) == [f"S{n}" for n in range(1, 26)]
    for about_containers in ("S1", "S2", "S4", "S5", "S6", "S9"):
        assert claims[about_containers]["verdict"] == "undecided"
        assert claims[about_containers]["reason"]


def test_gate(measured: Path, tmp_path: Path) -> None:
    """Without a decided claim the gate is not green; its files have one case a claim."""
    junit, markdown = tmp_path / "gate.xml", tmp_path / "gate.md"
    done = _bench(
        "gate", str(measured), "--strict", "--junit", str(junit), "--markdown", str(markdown)
    )
    assert done.returncode == 3, done.stdout + done.stderr
    cases = ET.parse(junit).getroot().findall(".//testcase")  # noqa: S314  # our own file
    assert len(cases) == 25
    assert len(re.findall(r"^\| S\d+ \|", markdown.read_text(), re.MULTILINE)) == 25


@pytest.mark.parametrize("command", ["report", "gate"])
def test_nothing_measured(command: str, tmp_path: Path) -> None:
    """A folder that holds no run is an error that names it, never a pass."""
    done = _bench(command, str(tmp_path))
    assert done.returncode == 2
    assert str(tmp_path) in done.stderr
    assert "Traceback" not in done.stderr


def test_bad_scenario_starts_nothing(tmp_path: Path) -> None:
    """All problems of a file at once, each with line and key; exit 2; no run directory."""
    path = tmp_path / "broken.toml"
    path.write_text(BROKEN)
    out = tmp_path / "run"
    done = _bench("run", str(path), "--launcher", "process", "--broker", "nats", "--out", str(out))
    assert done.returncode == 2
    for line, key in (
        (3, "titel"),
        (7, "component"),
        (11, "rate"),
        (14, "payload"),
        (16, "starts"),
    ):
        assert f"broken.toml:{line}" in done.stderr, done.stderr
        assert key in done.stderr
    assert not out.exists()


def test_unknown_scenario(tmp_path: Path) -> None:
    """A name that is not in the catalogue: the error lists those that are."""
    done = _bench("run", "realtme", "--out", str(tmp_path / "run"))
    assert done.returncode == 2
    assert "realtime" in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("place", ["file", "below a file", "full"])
def test_no_place_for_the_run_directory(place: str, tmp_path: Path) -> None:
    """A path where no folder can be made: exit 2, named, and nothing is started."""
    file = tmp_path / "file"
    file.write_text("precious")
    out = {"file": file, "below a file": file / "run", "full": tmp_path}[place]
    done = _bench("run", "realtime", "--launcher", "process", "--broker", "nats", "--out", str(out))
    assert done.returncode == 2
    assert f"{out}: " in done.stderr
    assert "Traceback" not in done.stderr
    assert [each.name for each in tmp_path.iterdir()] == ["file"]
    assert file.read_text() == "precious"


@pytest.mark.parametrize("place", ["u:se/cret@host", "host:port", "host:99999", "", "[::1"])
def test_a_url_that_cannot_be_one(place: str, tmp_path: Path) -> None:
    """A URL without a host, or whose port is none: exit 2, and nothing is started or stored."""
    done = _bench("run", "realtime", "--broker", f"amqp://{place}", "--out", str(tmp_path / "run"))
    assert done.returncode == 2
    assert "--broker amqp://" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("form", [("--broker", "{}"), ("--broker={}",)])
@pytest.mark.parametrize("scheme", ["amqp", "nats"])
def test_a_password_is_never_stored(scheme: str, form: tuple[str, ...], tmp_path: Path) -> None:
    """The broker's password is in nothing that a run stores or says."""
    out = tmp_path / "run"
    broker = f"{scheme}://someone:se%2Fcr@t@127.0.0.1:1"
    arguments = [part.format(broker) for part in form]
    done = _bench("run", "realtime", "--launcher", "process", *arguments, "--out", str(out))
    assert done.returncode == 2
    stored = "".join(path.read_text() for path in out.rglob("*") if path.is_file())
    assert f"{scheme}://127.0.0.1:1" in stored
    for text in (stored, done.stdout, done.stderr):
        assert "cr@t" not in text
        assert "someone" not in text


@pytest.mark.parametrize("seed", ["-1", "9223372036854775808", "one"])
def test_impossible_seed(seed: str, tmp_path: Path) -> None:
    """A seed that could not be stored and used again is refused before anything is measured."""
    done = _bench("run", "realtime", "--seed", seed, "--out", str(tmp_path / "run"))
    assert done.returncode == 2
    assert "--seed" in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("option", ["--junit", "--markdown"])
def test_gate_that_cannot_write(measured: Path, tmp_path: Path, option: str) -> None:
    """A file that cannot be written is an error with its name: the gate is not green by it."""
    done = _bench("gate", str(measured), option, str(tmp_path / "absent" / "file"))
    assert done.returncode == 2
    assert f"{tmp_path}/absent/file" in done.stderr
    assert "Traceback" not in done.stderr


def test_no_engine_is_no_silent_fallback(tmp_path: Path) -> None:
    """Containers asked for and not to be had: exit 2 and the remedy, nothing measured."""
    done = _bench(
        "run", "realtime", "--launcher", "docker", "--out", str(tmp_path / "run"),
        DOCKER_HOST=f"unix://{tmp_path}/none.sock",
    )  # fmt: skip
    assert done.returncode == 2
    assert "process" in done.stderr
    assert not (tmp_path / "run").exists()


def test_doctor() -> None:
    """The doctor says what it saw of each thing that a run may need."""
    done = _bench("doctor", COLUMNS="160")
    assert done.returncode == 0, done.stderr
    for thing in ("Python", "container engine", "RabbitMQ", "NATS"):
        assert thing in done.stdout
