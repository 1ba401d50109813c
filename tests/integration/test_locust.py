"""Locust by hand, as docs/scenarios.md shows it: its own web page, its own statistics, our spans.

The guide's own code and command are what is run; only addresses, ports and the folder are replaced.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from bench.load.schedule import build_schedule
from runtime.broker import connect
from runtime.broker.nats_server import NatsServer
from runtime.broker.node import RabbitNode, free_ports
from runtime.spans import FIRST, OK, SEND
from runtime.spool import read_spool
from tests.browser.conftest import FLAGS
from tests.conftest import browser_path

ROOT = Path(__file__).parents[2]
MESSAGES = 300
PATIENCE_S = 60.0
REFUSED = 2


class Guide:
    """The guide's section on Locust, with this test's places in it."""

    def __init__(self, url: str, folder: Path, port: int) -> None:
        text = (ROOT / "docs" / "scenarios.md").read_text(encoding="utf-8")
        section = text.partition("### By hand, under Locust's web page\n")[2].partition("\n## ")[0]
        (code,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
        (command,) = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
        self.code = self._replaced(
            code,
            ("amqp://guest:guest@127.0.0.1:5672/%2F", url),
            ('Path("by-hand")', f"Path({str(folder)!r})"),
        )
        self.command = self._replaced(
            command,
            ("by-hand/", f"{folder}/"),
            ("8089", str(port)),
            (".nox/hopbench/bin/locust", f"{sys.executable} -m locust"),
        )

    @staticmethod
    def _replaced(text: str, *places: tuple[str, str]) -> str:
        for place, ours in places:
            assert place in text
            text = text.replace(place, ours)
        return text


class Hand:
    """A broker with the guide's queue and job, and Locust as the guide starts it."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url, self.folder, self.port = url, folder, free_ports(1)[0]
        self.page = f"http://127.0.0.1:{self.port}"
        guide = Guide(url, folder, self.port)
        subprocess.run([sys.executable, "-c", guide.code], cwd=ROOT, check=True, timeout=PATIENCE_S)
        words = shlex.split(guide.command)
        self.environment = dict([words.pop(0).split("=", 1)])
        self.command = words
        self.program: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start Locust and wait for its page."""
        self.program = subprocess.Popen(
            self.command, cwd=ROOT, env={**os.environ, **self.environment}, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        self.await_true(self._answers, "its page")

    def run(self, *more: str) -> subprocess.CompletedProcess[str]:
        """Run Locust to its end."""
        return subprocess.run(
            [*self.command, *more], cwd=ROOT, env={**os.environ, **self.environment}, text=True,
            stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE_S, check=False,
        )  # fmt: skip

    def statistics(self) -> dict[str, Any]:
        """What the page shows."""
        answer = requests.get(f"{self.page}/stats/requests", timeout=10.0)
        answer.raise_for_status()
        return dict(answer.json())

    def await_true(self, done: Callable[[], bool], what: str) -> None:
        """Wait for something that Locust does."""
        deadline = time.monotonic() + PATIENCE_S
        while not done():
            assert self.program is not None
            assert self.program.poll() is None, self.program.communicate()
            assert time.monotonic() < deadline, f"waited for {what}"
            time.sleep(0.1)

    def end(self) -> int:
        """SIGTERM, as a user's Ctrl-C; returns the exit code."""
        if self.program is None:
            return 0
        self.program.terminate()
        self.program.communicate(timeout=PATIENCE_S)
        code, self.program = self.program.returncode, None
        return code

    def _answers(self) -> bool:
        try:
            return requests.get(self.page, timeout=10.0).status_code == 200
        except requests.ConnectionError:
            return False

    def assert_all_sent(self) -> None:
        """Every message of the schedule is in the spool, in the queue, and in the answer."""
        answer = json.loads((self.folder / "first.done.json").read_text())
        records = read_spool(self.folder / "first.spool").records
        assert answer["sent"] == len(records) == MESSAGES
        assert set(records["kind"]) == {SEND}
        assert set(records["outcome"]) == {OK}
        records = records[records["trace"].argsort()]
        assert records["trace"].tolist() == list(range(1, MESSAGES + 1))
        assert records["trace"][records["flags"] & FIRST != 0].tolist() == [1]
        schedule = build_schedule(
            seed=1, arrivals="poisson", rate_hz=100.0, delays_ms=[0.0], messages_per_cell=MESSAGES
        )
        offsets = (records["t0_ns"] - answer["start_ns"]).tolist()
        assert offsets == [arrival.offset_ns for arrival in schedule]
        broker = connect(self.url, name="test")
        try:
            assert broker.depth("orders").ready == MESSAGES
        finally:
            broker.close()


@pytest.fixture
def nats(tmp_path: Path) -> Iterator[Hand]:
    """Locust beside the embedded NATS server."""
    server = NatsServer.start("locust-by-hand", tmp_path)
    try:
        yield from _hand(server.url, tmp_path / "jobs")
    finally:
        server.stop()


@pytest.fixture
def rabbitmq(tmp_path: Path) -> Iterator[Hand]:
    """Locust beside a private RabbitMQ node."""
    node = RabbitNode.start("locust-by-hand", tmp_path)
    try:
        yield from _hand(node.url, tmp_path / "jobs")
    finally:
        node.stop()


def _hand(url: str, folder: Path) -> Iterator[Hand]:
    hand = Hand(url, folder)
    try:
        yield hand
    finally:
        hand.end()


@pytest.mark.parametrize("broker", [pytest.param("rabbitmq", marks=pytest.mark.rabbitmq), "nats"])
def test_the_web_page_sends_the_job(request: pytest.FixtureRequest, broker: str) -> None:
    """A swarm started on the page sends the job once: its statistics and the spans agree."""
    hand: Hand = request.getfixturevalue(broker)
    hand.start()
    assert "<title>Locust" in requests.get(hand.page, timeout=10.0).text
    # More users than one, as somebody may well ask for.
    started = requests.post(
        f"{hand.page}/swarm", data={"user_count": 3, "spawn_rate": 3}, timeout=10.0
    )
    assert started.json()["success"] is True
    hand.await_true(lambda: hand.statistics()["state"] == "stopped", "the end of the job")
    (row,) = [row for row in hand.statistics()["stats"] if row["name"] == "order"]
    assert (row["method"], row["num_requests"], row["num_failures"]) == ("PUBLISH", MESSAGES, 0)
    hand.assert_all_sent()
    # Once more: refused, told on the page, and nothing sent or overwritten.
    requests.post(f"{hand.page}/swarm", data={"user_count": 1, "spawn_rate": 1}, timeout=10.0)
    hand.await_true(lambda: bool(_exceptions(hand)), "the refusal")
    assert "this job was sent before" in _exceptions(hand)[0]["msg"]
    hand.assert_all_sent()


def _exceptions(hand: Hand) -> list[dict[str, Any]]:
    found = requests.get(f"{hand.page}/exceptions", timeout=10.0).json()["exceptions"]
    return list(found)


@pytest.mark.browser
def test_the_web_page_in_a_browser(nats: Hand) -> None:
    """In Chromium: the form starts the job, and the table shows every message of it."""
    from playwright.sync_api import sync_playwright

    nats.start()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path(), args=list(FLAGS))
        page = browser.new_page()
        page.goto(nats.page)
        page.get_by_role("button", name="Start", exact=True).click()
        page.get_by_role("row").filter(has_text="order").filter(has_text=str(MESSAGES)).wait_for(
            timeout=PATIENCE_S * 1000
        )
        browser.close()
    nats.await_true(lambda: nats.statistics()["state"] == "stopped", "the end of the job")
    nats.assert_all_sent()
    assert nats.end() == 0


def test_without_the_page_it_ends_with_the_job(nats: Hand) -> None:
    """Headless, Locust ends when the job is sent; sending it again is an error that says so."""
    done = nats.run("--headless", "--only-summary")
    assert done.returncode == 0, done.stderr
    nats.assert_all_sent()
    again = nats.run("--headless", "--only-summary", "--loglevel", "CRITICAL")
    assert again.returncode == 1
    assert "first.job.json: this job was sent before" in again.stderr
    nats.assert_all_sent()


@pytest.mark.parametrize(
    ("job", "more", "says"),
    [
        (None, ("--processes", "2"), "is not shared by Locust's own --processes"),
        (None, ("--worker",), "is not shared by Locust's own"),
        (None, ("--master", "--expect-workers", "1"), "is not shared by Locust's own"),
        ("", (), "Set HOPBENCH_LOAD_JOB to the file of a job"),
        ("nowhere.job.json", (), "nowhere.job.json: the job cannot be read: No such file"),
        ("half.job.json", (), "half.job.json: this is no job"),
    ],
)
def test_what_cannot_work_is_refused(
    nats: Hand, job: str | None, more: tuple[str, ...], says: str
) -> None:
    """Locust's own processes, and a job that is none, end the program before it begins."""
    (nats.folder / "half.job.json").write_text('{"name": "half", "cells": []}')
    if job is not None:
        nats.environment["HOPBENCH_LOAD_JOB"] = str(nats.folder / job) if job else ""
    done = nats.run(*more)
    assert done.returncode == REFUSED, done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert not (nats.folder / "first.spool").exists()
