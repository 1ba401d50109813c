"""The sampler on what it is made for: a container, and an OS process."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator

import numpy as np
import pytest

from bench.resources import Sampler
from runtime.launch import Launcher, Spec
from runtime.launch.process import ProcessLauncher
from runtime.model import Limits

BUSY = "import time\nheld = bytearray(b'x' * 30_000_000)\nwhile True: time.process_time()\n"


def containers(run_id: str) -> Launcher:
    """The launcher of containers."""
    from runtime.launch.docker import DockerLauncher

    return DockerLauncher(run_id)


@pytest.fixture(
    params=[
        pytest.param(ProcessLauncher, id="process"),
        pytest.param(containers, id="docker", marks=pytest.mark.docker),
    ]
)
def launcher(request: pytest.FixtureRequest) -> Iterator[Launcher]:
    """Each launcher."""
    made: Launcher = request.param(f"test-{secrets.token_hex(3)}")
    yield made
    made.close()


def wait_for_readings(sampler: Sampler, *, isolates: bool) -> None:
    """Wait until the busy instance must show: a machine with other work may let it wait itself."""
    deadline_s = time.monotonic() + 30.0
    while time.monotonic() < deadline_s:
        table = sampler.table()
        used = table["cpu_ns"].max(initial=0) > 500_000_000
        held = table["memory_bytes"].max(initial=0) > 30_000_000
        throttled = table["throttled_ns"].max(initial=0) > 0
        if used and held and (throttled or not isolates):
            return
        time.sleep(0.05)


def test_a_busy_instance_is_sampled_until_its_end(launcher: Launcher) -> None:
    """CPU time keeps to its limit, memory holds what was allocated, rows end with the instance."""
    image = launcher.worker_image()
    spec = Spec(
        name="busy",
        role="step",
        image=image,
        env={},
        limits=Limits(cpus=0.2),
        argv=(image.argv[0], "-c", BUSY),
    )
    instance = launcher.start(spec)
    with Sampler(isolates=launcher.isolates, period_s=0.02) as sampler:
        sampler.watch(4, instance)
        wait_for_readings(sampler, isolates=launcher.isolates)
        instance.stop(grace_s=0.1)
        rows_at_end = len(sampler.table()["at_ns"])
        time.sleep(0.2)
        sampler.unwatch(4)
        table = sampler.table()
    assert sampler.problems == ()
    assert len(table["at_ns"]) <= rows_at_end + 1
    assert set(table["instance"].tolist()) == {4}
    cpu_ns = np.diff(table["cpu_ns"])
    assert (cpu_ns >= 0).all()
    assert table["cpu_ns"][-1] > 100_000_000
    assert table["memory_bytes"].max() > 30_000_000
    if launcher.isolates:
        # A fifth of a processor was given and more was wanted: the quota must have bitten.
        assert table["throttled_ns"][-1] > 0
        # The quota is given in periods of 100 ms, and one can be begun at either end.
        wall_ns = int(table["at_ns"][-1]) - instance.create_ns
        assert table["cpu_ns"][-1] < wall_ns * 0.2 + 40_000_000
    else:
        assert set(table["throttled_ns"].tolist()) == {0}
