"""The floor's figures, schedule, record, and its clients on a launcher that is made up."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import pytest

from bench import floor
from bench.floor import HopFloor
from runtime.errors import MeasurementError, StepExited
from runtime.launch import Image, Launcher, Spec
from scenarios.model import Arrivals


@dataclass
class Client:
    """A floor client that writes what the test tells it to."""

    name: str
    living: bool = True
    stops: int = 0

    def alive(self) -> bool:
        """As told."""
        return self.living

    def logs(self, last: int = 20) -> str:
        """Something to recognise."""
        return f"last words of {self.name} ({last} lines)"

    def stop(self, *, grace_s: float) -> None:
        """Count the calls."""
        assert grace_s > 0
        self.stops += 1


@dataclass
class Clients:
    """A launcher of such clients; ``begin`` is what each does at its start."""

    begin: Callable[[Spec, Client], None]
    isolates: bool = False
    started: list[Client] = field(default_factory=list)
    specs: list[Spec] = field(default_factory=list)

    def worker_image(self) -> Image:
        """An image with an interpreter."""
        return Image(reference="worker", argv=("python3", "-m", "worker"))

    def inside(self, path: Path) -> str:
        """Seen under another path."""
        return f"/inside/{path.name}"

    def start(self, spec: Spec) -> Client:
        """Start a client."""
        client = Client(spec.name)
        self.started.append(client)
        self.specs.append(spec)
        self.begin(spec, client)
        return client


def launcher_of(clients: Clients) -> Launcher:
    """The made-up launcher, as the floor takes it."""
    return cast("Launcher", clients)


def ready(spec: Spec, _client: Client) -> None:
    """Be ready at once."""
    assert spec.spool is not None
    (spec.spool / "ready.json").write_text("{}")


def test_quantiles_need_ten_samples_beyond_them() -> None:
    """A quantile is given at ten samples beyond it, and None at fewer."""
    assert floor.summary(range(999), unit_ns=1)["p99"] is None
    assert floor.summary(range(1000), unit_ns=1)["p99"] == pytest.approx(989.01)
    assert floor.summary(range(199), unit_ns=1)["p95"] is None
    assert floor.summary(range(200), unit_ns=1)["p95"] is not None
    assert floor.summary(range(19), unit_ns=1)["p50"] is None


def test_hop_figures_are_milliseconds_of_the_raw_samples() -> None:
    """Figures are in milliseconds, samples stay as they were, negative ones too."""
    samples = (-1_000_000, *[2_000_000] * 29)
    figures = floor.hop_figures(samples)
    assert figures["mean"] == pytest.approx(1.9)
    assert figures["p50"] == pytest.approx(2.0)
    assert figures["n"] == 30
    assert figures["samples_ns"] == list(samples)
    json.dumps(figures)


def test_record_holds_what_is_missing_with_its_reason() -> None:
    """What could not be measured is None, and the reasons are kept."""
    empty = floor.record(
        None, None, placement="process", body_bytes=1024, rate_hz=50.0, problems=["why"]
    )
    assert empty == {
        "timer_resolution_ns": None,
        "scheduling_jitter_us": None,
        "loopback_tcp_us": None,
        "broker_hop_ms": None,
        "placement": "process",
        "body_bytes": 1024,
        "rate_hz": 50.0,
        "problems": ["why"],
    }


def test_machine_floor_is_measured() -> None:
    """Timer, jitter and loopback give positive figures of as many samples as asked for."""
    assert floor.timer_resolution_ns(1000) > 0
    jitter = floor.scheduling_jitter_ns(sleeps=5, sleep_ns=100_000)
    assert len(jitter) == 5
    assert min(jitter) > 0
    halves = floor.loopback_tcp_ns(rounds=20)
    assert len(halves) == 20
    assert min(halves) > 0


def test_schedule_follows_its_seed_and_rate() -> None:
    """Poisson gaps repeat with the seed and have the asked mean; constant gaps are all alike."""
    one = floor.offsets_ns(Arrivals.POISSON, 50.0, 4000, seed=1)
    assert one == floor.offsets_ns(Arrivals.POISSON, 50.0, 4000, seed=1)
    assert one != floor.offsets_ns(Arrivals.POISSON, 50.0, 4000, seed=2)
    assert one[-1] / 4000 == pytest.approx(20_000_000, rel=0.05)
    constant = floor.offsets_ns(Arrivals.CONSTANT, 50.0, 3, seed=1)
    assert constant == (20_000_000, 40_000_000, 60_000_000)


def test_batch_joins_stamps_by_sequence(tmp_path: Path) -> None:
    """A batch orders its messages from the source and subtracts emit from arrival, one by one."""
    clients = Clients(ready)
    (tmp_path / "source").mkdir()
    (tmp_path / "sink").mkdir()
    (tmp_path / "source/result-1.json").write_text('{"emit_ns": [100, 200, 300]}')
    (tmp_path / "sink/result-1.json").write_text('{"arrival_ns": [150, 290, 310]}')
    with HopFloor(launcher_of(clients), "amqp://broker", tmp_path) as pair:
        samples = pair.batch(3, 1000.0, 512, seed=4, arrivals=Arrivals.CONSTANT)
    assert samples == (50, 90, 10)
    order = json.loads((tmp_path / "source/order-1.json").read_text())
    assert order == {"offsets_ns": [1_000_000, 2_000_000, 3_000_000], "body_bytes": 512}
    assert [client.stops for client in clients.started] == [1, 1]


@pytest.mark.parametrize(
    ("isolates", "folder"), [(True, "/opt/hopbench/bare"), (False, str(floor.BARE))]
)
def test_clients_are_the_bare_scripts(tmp_path: Path, isolates: bool, folder: str) -> None:
    """Sink first, then source, both on one queue, as the scripts that stand in the image."""
    clients = Clients(ready, isolates=isolates)
    with HopFloor(launcher_of(clients), "amqp://broker", tmp_path, name="pair"):
        pass
    sink, source = clients.specs
    assert (sink.name, source.name) == ("pair-sink", "pair-source")
    assert {sink.role, source.role} == {"floor"}
    queue = sink.argv[4]
    assert sink.argv == (
        "python3", f"{folder}/hop.py", "sink", "amqp://broker", queue, "/inside/sink",
    )  # fmt: skip
    assert source.argv == (
        "python3", f"{folder}/hop.py", "source", "amqp://broker", queue, "/inside/source",
    )  # fmt: skip


def test_a_client_that_ends_is_an_error_with_its_last_words(tmp_path: Path) -> None:
    """A client that ends before it is ready is named, its log shown, and the other one stopped."""

    def begin(spec: Spec, client: Client) -> None:
        if client.name.endswith("source"):
            client.living = False
        else:
            ready(spec, client)

    clients = Clients(begin)
    with pytest.raises(StepExited, match="last words of floor-source"):
        HopFloor(launcher_of(clients), "amqp://broker", tmp_path).__enter__()
    assert [client.stops for client in clients.started] == [1, 1]


def test_a_message_that_does_not_arrive_is_an_error(tmp_path: Path) -> None:
    """Without a result of the sink the batch fails in time; no sample is made up."""
    clients = Clients(ready)
    (tmp_path / "source").mkdir()
    (tmp_path / "source/result-1.json").write_text('{"emit_ns": [100]}')
    pair = HopFloor(launcher_of(clients), "amqp://broker", tmp_path, timeout_s=0.05)
    with pair, pytest.raises(MeasurementError, match=r"no result-1\.json"):
        pair.batch(1, 1000.0, 64, seed=1)


def test_a_floor_that_was_not_started_says_so(tmp_path: Path) -> None:
    """A batch outside the context manager is an error, not a hang."""
    pair = HopFloor(launcher_of(Clients(ready)), "amqp://broker", tmp_path)
    with pytest.raises(MeasurementError, match="not running"):
        pair.batch(1, 1.0, 64, seed=1)


def test_a_failed_parallel_start_stops_the_others(tmp_path: Path) -> None:
    """When one of three bare starts fails, those that did start are stopped."""

    def begin(spec: Spec, _client: Client) -> None:
        if spec.name.endswith("-1"):
            raise StepExited("no room", where=spec.name)
        assert spec.spool is not None
        (spec.spool / "connected.json").write_text('{"connected_ns": 5}')

    clients = Clients(begin)
    with pytest.raises(StepExited, match="no room"):
        floor.bare_starts_in_parallel_ms(launcher_of(clients), "amqp://broker", tmp_path)
    stops = {client.name[-1]: client.stops for client in clients.started}
    assert stops == {"0": 1, "1": 0, "2": 1}
