"""A certificate as a file: what is read is checked whole, and flagged where it does not belong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reports.certificate import certify
from reports.certificate_file import FILE, read_certificate, speaks_for, write_certificate
from reports.results import analyse
from runtime.errors import DataError, FormatError
from tests.fakes.certificate import certificate_run
from tests.fakes.rundir import Plan, amend, write_run

Json = dict[str, Any]
SMALL = (Plan("realtime", "Realtime", messages=30, starts=3),)


@pytest.fixture(scope="module")
def certified(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run directory with its certificate; not to be changed."""
    run = certificate_run(tmp_path_factory.mktemp("certified") / "run")
    write_certificate(certify(run), run / FILE)
    return run


@pytest.fixture
def copy(certified: Path, tmp_path: Path) -> Path:
    """A copy of the certificate, to be changed."""
    path = tmp_path / "copy.json"
    path.write_text((certified / FILE).read_text())
    return path


def test_what_was_written_is_read(certified: Path) -> None:
    """By its folder or by its own name, the same document comes back."""
    assert read_certificate(certified) == read_certificate(certified / FILE) == certify(certified)


def test_certificate_is_small(certified: Path) -> None:
    """A file to keep with every build: below 64 KiB."""
    assert (certified / FILE).stat().st_size < 64 * 1024


def first(content: Json, check: str) -> Json:
    """The first row of a check."""
    row: Json = next(one for one in content["checks"] if one["id"] == check)["rows"][0]
    return row


DAMAGE: dict[str, tuple[Callable[[Json], object], str]] = {
    "another kind": (lambda c: c.update(kind="results"), "no certificate"),
    "a newer format": (lambda c: c.update(format=2), "format 2"),
    "a missing key": (lambda c: c.pop("machine"), "machine is missing"),
    "a wrong type": (lambda c: c.update(valid="yes"), "valid"),
    "an unknown verdict": (lambda c: c.update(verdict="fine"), "no verdict 'fine'"),
    "a row of words": (lambda c: first(c, "freeze").update(corrected="3 s"), "corrected"),
    "a check that is not shown": (
        lambda c: c["checks"][0].update(verdict="not shown"), "contradicts itself",
    ),
    "a check left out": (lambda c: c["checks"].pop(), "without conservation"),
    "a doubt": (lambda c: c["doubts"].append("the run failed"), "contradicts itself"),
    "valid against its verdict": (lambda c: c.update(verdict="undecided"), "contradicts itself"),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_named(copy: Path, damage: str) -> None:
    """Whatever is wrong with a certificate, reading it fails with the file and what it is."""
    change, says = DAMAGE[damage]
    amend(copy, change)
    with pytest.raises(FormatError, match=says) as caught:
        read_certificate(copy)
    assert str(copy) in str(caught.value)


@pytest.mark.parametrize("text", ["", "[1]", "null", '{"kind"'])
def test_what_is_no_certificate_is_refused(copy: Path, text: str) -> None:
    """A file of something else is an error, not an empty certificate."""
    copy.write_text(text)
    with pytest.raises(FormatError, match=r"copy\.json"):
        read_certificate(copy)


def test_missing_certificate_says_how_to_make_one(tmp_path: Path) -> None:
    """A folder without one names the command that makes it."""
    with pytest.raises(DataError, match="bench certify"):
        read_certificate(tmp_path)


def test_own_certificate_has_no_flags(certified: Path) -> None:
    """In the report of the very run it was made from, a valid certificate stands as it is."""
    results = analyse(certified)
    assert results["certificate"]["own"] is True
    assert results["certificate"]["flags"] == []


def test_run_without_one_has_none(tmp_path: Path) -> None:
    """A run that was given no certificate says so in its results."""
    assert analyse(write_run(tmp_path / "run", SMALL))["certificate"] is None


def test_certificate_of_the_same_place_speaks_for_another_run(
    certified: Path, tmp_path: Path
) -> None:
    """Another run on the same machine, launcher, broker and version: no flag."""
    run = write_run(tmp_path / "run", SMALL, seed=2)
    write_certificate(read_certificate(certified), run / FILE)
    found = analyse(run)["certificate"]
    assert (found["own"], found["flags"]) == (False, [])
    assert found["document"] == read_certificate(certified)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda c: c["machine"].update(cpu="Another CPU"), "another machine: cpu Another CPU"),
        (lambda c: c["machine"].update(cores=64), "another machine: cores 64, here 2"),
        (lambda c: c.update(launcher="process"), "another launcher: process, here docker"),
        (lambda c: c.update(broker="nats"), "another broker: nats, here rabbitmq"),
        (lambda c: c.update(broker_version="4.0"), "another broker version: 4.0, here 3.10.8"),
        (lambda c: c.update(hopbench="9.9"), "another hopbench version: 9.9, here 0.1.0"),
        (lambda c: c.update(quick=True), "--quick"),
        (lambda c: c.update(valid=False, verdict="undecided"), "not valid: its verdict is und"),
    ],
)
def test_certificate_of_another_place_is_flagged(
    copy: Path, tmp_path: Path, change: Callable[[Json], object], says: str
) -> None:
    """What differs from the run it lies beside is named, one flag each."""
    amend(copy, change)
    run = write_run(tmp_path / "run", SMALL, seed=2)
    (run / FILE).write_text(copy.read_text())
    (flag,) = analyse(run)["certificate"]["flags"]
    assert says in flag


def test_damaged_certificate_is_no_silent_loss(tmp_path: Path) -> None:
    """A run whose certificate cannot be read is not reported as if it had none."""
    run = write_run(tmp_path / "run", SMALL)
    (run / FILE).write_text("{}")
    with pytest.raises(FormatError, match=r"certificate\.json"):
        analyse(run)


def test_flags_do_not_depend_on_the_order_of_reading(certified: Path) -> None:
    """The same document and environment give the same flags, as JSON."""
    document = read_certificate(certified)
    once, again = (json.dumps(speaks_for(document, "other", {})) for _ in range(2))
    assert once == again
    assert "not recorded" in once
