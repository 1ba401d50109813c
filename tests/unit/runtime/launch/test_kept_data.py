"""The data of a platform's own broker: one broker at a time, of one kind, for one store."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from runtime.broker.leash import Leash
from runtime.errors import BrokerUnavailable, InputError, StoreError
from runtime.launch import leftovers
from runtime.launch.kept_data import KeptData, open_kept

KIND = "nats, process"


def opened(root: Path) -> KeptData:
    """The data of a broker that there is."""
    kept = open_kept(root, KIND, patience_s=0.0)
    assert kept is not None
    return kept


def test_the_next_broker_has_what_the_last_one_left(tmp_path: Path) -> None:
    """Files and credentials stay until they are removed, for nobody else's eyes."""
    root = tmp_path / "broker"
    first = opened(root)
    assert first.is_new
    (first.folder / "messages").write_text("three")
    first.release()
    second = opened(root)
    assert (second.is_new, second.user, second.password) == (False, first.user, first.password)
    assert (second.folder / "messages").read_text() == "three"
    assert root.stat().st_mode & 0o777 == 0o700
    assert (root / "broker.json").stat().st_mode & 0o777 == 0o600
    second.remove()
    assert not root.exists()
    third = opened(root)
    assert third.is_new
    assert third.password != first.password
    third.remove()


@pytest.mark.parametrize("kind", ["rabbitmq, process", None])
def test_another_broker_is_refused(tmp_path: Path, kind: str | None) -> None:
    """Data is not passed over by a broker that cannot read it, nor by one from elsewhere."""
    root = tmp_path / "broker"
    opened(root).release()
    with pytest.raises(InputError, match="in the data of nats, process") as raised:
        open_kept(root, kind)
    assert "--launcher" in raised.value.remedy
    assert (root / "data").is_dir()


def test_a_store_that_was_moved_is_refused(tmp_path: Path) -> None:
    """Its queues are named after its old place, so the error says which."""
    opened(tmp_path / "old").release()
    (tmp_path / "old").rename(tmp_path / "new")
    with pytest.raises(InputError, match=f"named after {tmp_path / 'old'}"):
        open_kept(tmp_path / "new", KIND)


def test_without_a_broker_there_is_no_data(tmp_path: Path) -> None:
    """Who is given a broker by URL makes no folder."""
    assert open_kept(tmp_path / "broker", None) is None
    assert not (tmp_path / "broker").exists()


def test_damaged_data_is_named(tmp_path: Path) -> None:
    """What cannot be read is an error of the store that names the folder, and stays."""
    root = tmp_path / "broker"
    root.mkdir()
    (root / "broker.json").write_text("[")
    with pytest.raises(StoreError, match="cannot be used"):
        open_kept(root, KIND)
    (root / "broker.json").write_text(json.dumps({"kind": KIND, "root": str(root)}))
    with pytest.raises(StoreError, match="cannot be used"):
        open_kept(root, KIND)
    assert (root / "broker.json").exists()


def test_a_broker_that_lives_on_is_not_joined_by_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a process on the data lives, whoever started it, the data is not given out again."""
    cleaned: list[bool] = []
    monkeypatch.setattr(leftovers, "clean", lambda: cleaned.append(True))
    root = tmp_path / "broker"
    kept = opened(root)
    leash = Leash(
        [sys.executable, "-c", "import time; time.sleep(600)"],
        env=dict(os.environ),
        log=tmp_path / "log",
        grace_s=0.1,
        keep_open=(kept.lock,),
    )
    try:
        # As the kernel does for a platform that is killed.
        kept.release()
        with pytest.raises(BrokerUnavailable, match="still has its data"):
            opened(root)
        assert cleaned == [True]
    finally:
        leash.stop()
    opened(root).remove()
