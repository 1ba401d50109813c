"""What it takes to run one version of a flow: revisions, images, and the names of its queues."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from runtime.broker import Broker
from runtime.flows import Definition, Draft, Version
from runtime.launch import Image, Launcher
from runtime.model import FlowType, Revision
from runtime.modes import Deployment, Started
from runtime.store import Store
from runtime.wiring import Wiring, wire


@dataclass(frozen=True, slots=True)
class OwnBroker:
    """A broker that was started for the platform alone.

    ``has_earlier`` says that it was started on the data of an earlier platform's, ``is_alive`` asks
    whether it still runs.
    """

    has_earlier: bool
    is_alive: Callable[[], bool]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a platform's flows run. ``broker_url`` is for this host, the other for containers.

    ``folder`` gets the spans of all containers, ``FLOW/START/CONTAINER/``. ``environment`` and
    ``substitutions`` are added to every step's; ``on_started`` is told of every container.
    ``kept`` is how many ended containers of each step, and how many starts of a flow, have what
    they wrote kept; None: all, for who measures. ``own_broker`` is there where the broker is the
    platform's, and nobody else's to look after.
    """

    launcher: Launcher
    broker_url: str
    broker_url_inside: str
    folder: Path
    start_timeout_s: float = 60.0
    grace_s: float = 5.0
    environment: Mapping[str, str] = field(default_factory=dict)
    substitutions: Mapping[str, str] = field(default_factory=dict)
    on_started: Callable[[Started], None] | None = None
    kept: int | None = None
    own_broker: OwnBroker | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """One version of a flow. Without ``images`` it tells of queues, and starts nothing.

    ``name`` is that of its queues: the same for all versions whose queues are the same, so that
    messages stay where they are when one follows another.
    """

    flow: str
    flow_type: FlowType
    definition: Definition
    name: str
    revisions: tuple[Revision, ...] = ()
    images: tuple[Image, ...] = ()

    @property
    def wiring(self) -> Wiring:
        """The names of its queues and keys."""
        return wire(self.definition.flow(self.flow), self.name, snapshots=True)

    def deployment(self, place: Place, broker: Broker, store: Store, folder: Path) -> Deployment:
        """The plan, laid onto a broker."""
        return Deployment(
            flow=self.definition.flow(self.flow),
            revisions=self.revisions,
            images=self.images,
            launcher=place.launcher,
            broker=broker,
            broker_url_inside=place.broker_url_inside,
            folder=folder,
            name=self.name,
            substitutions=place.substitutions,
            environment=place.environment,
            snapshots=lambda step: store.snapshots.load(self.flow, step),
            on_started=place.on_started,
        )


def outline(store: Store, flow_type: FlowType, version: Version | Draft) -> Plan:
    """The plan of a version whose queues alone matter."""
    definition = version.definition
    return Plan(version.flow, flow_type, definition, queues_name(store, version.flow, definition))


def prepare(store: Store, place: Place, flow_type: FlowType, version: Version | Draft) -> Plan:
    """Find the revisions and prepare their images.

    Raises StoreError for content that was changed, ImageError where an image cannot be built.
    """
    found = store.revisions.of(version)
    definition = version.definition
    images: dict[str, Image] = {}
    for one in found.values():
        if one.digest not in images:
            images[one.digest] = place.launcher.prepare(one)
    revisions = tuple(found[step.id] for step in definition.steps)
    return Plan(
        version.flow,
        flow_type,
        definition,
        queues_name(store, version.flow, definition),
        revisions,
        tuple(images[one.digest] for one in revisions),
    )


def queues_name(store: Store, flow: str, definition: Definition) -> str:
    """The flow's name, and a hash of its queues and of whose they are: platforms share brokers.

    The same for two versions with the same steps, in the same order, with the same bounds.
    """
    steps = [[step.id, step.max_length, step.max_bytes] for step in definition.steps]
    text = json.dumps([str(store.folder), flow, steps])
    return f"{flow}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
