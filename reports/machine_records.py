"""The typed content of what ``run.json`` says of the machine: its environment, and its floor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class FloorRecord:
    """The machine's floor before and after the trials."""

    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class QuantilesRecord:
    """Quantiles of a floor figure of the machine itself, in its member's unit."""

    p50: float | None
    p99: float | None
    n: int | None
    samples_ns: tuple[int, ...] | None


@dataclass(frozen=True, slots=True)
class BareHopRecord:
    """The bare broker hop, in ms; the samples in ns."""

    mean: float | None
    p50: float | None
    p95: float | None
    p99: float | None
    n: int | None
    samples_ns: tuple[int, ...] | None


@dataclass(frozen=True, slots=True)
class FloorSideRecord:
    """One side of the floor: what its members must be where they are there."""

    timer_resolution_ns: float | None
    timer_reads: int | None
    scheduling_jitter_us: QuantilesRecord | None
    loopback_tcp_us: QuantilesRecord | None
    broker_hop_ms: BareHopRecord | None
    placement: str | None
    body_bytes: int | None
    rate_hz: float | None
    problems: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class EnvironmentRecord:
    """Those members of the environment that are more than a word to show."""

    cores: int | None
    memory_bytes: int | None
    packages: Mapping[str, Any] | None
