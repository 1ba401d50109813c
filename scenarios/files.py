"""Reads scenario files and the claims; a wrong file gets all of its problems listed at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from runtime.components import SERVICE, load_component
from runtime.document import NAME, Table, distinct, meant
from runtime.errors import ComponentError, InputError, ScenarioError
from runtime.model import Component, FlowType, Step
from runtime.quantities import DURATION_MS, RATE, SIZE
from runtime.steps import read_step
from scenarios.document import Document
from scenarios.faults import check_network_delays, read_faults
from scenarios.model import (
    Arrivals,
    Axes,
    Claim,
    Freeze,
    Load,
    Loop,
    Profile,
    Scenario,
    Service,
    Target,
)
from scenarios.phases import read_observe, read_phases, read_search
from scenarios.references import references

HERE = Path(__file__).parent
CATALOGUE = HERE / "catalog"
COMPONENTS = HERE / "components"
CLAIMS = HERE / "claims.toml"


def component_roots(path: Path, components_root: Path = COMPONENTS) -> tuple[Path, ...]:
    """Where the components of a scenario file are looked for: beside it, then ours."""
    return (path.parent / "components", components_root)


def find_component(name: str, roots: Sequence[Path]) -> Path | None:
    """The first of these folders' component of that name."""
    return next((root / name for root in roots if (root / name).is_dir()), None)


def load_scenario(path: Path, components_root: Path = COMPONENTS) -> Scenario:
    """Read and check one scenario file; its components are in ``components/`` beside it, or ours.

    Raises ScenarioError with every problem found, each as ``file:line: key: what``.
    """
    document = _open(path)
    scenario = _scenario(document, component_roots(path, components_root))
    document.check()
    return scenario


def load_catalogue(
    folder: Path = CATALOGUE, components_root: Path = COMPONENTS
) -> dict[str, Scenario]:
    """All scenario files of a folder, by name, in order of file name.

    Raises ScenarioError with the problems of all files, or when two scenarios have one name.
    """
    problems: list[str] = []
    found: dict[str, Scenario] = {}
    for path in sorted(folder.glob("*.toml")):
        try:
            scenario = load_scenario(path, components_root)
        except ScenarioError as error:
            problems += error.problems
            continue
        if scenario.name in found:
            problems.append(f"{path}:1: name: {found[scenario.name].path} has the same name")
        found[scenario.name] = scenario
    if not found and not problems:
        problems.append(f"{folder}: there are no scenario files (*.toml) here")
    if problems:
        raise ScenarioError(tuple(problems), where=str(folder))
    return found


def load_claims(path: Path = CLAIMS) -> tuple[Claim, ...]:
    """Read and check the claims, in the order of the file. Raises ScenarioError like a scenario."""
    document = _open(path)
    root = document.root()
    claims = tuple(_claim(table) for table in distinct(root.tables("claims", required=True)))
    root.finish()
    document.check()
    return claims


def _open(path: Path) -> Document:
    try:
        # Not as text: a lone carriage return ends a line for Python, and is an error in TOML.
        text = path.read_bytes().decode("utf-8").replace("\r\n", "\n")
    except FileNotFoundError:
        raise ScenarioError((f"{path}: there is no such file",), where=str(path)) from None
    except OSError as error:
        what = error.strerror or str(error)
        raise ScenarioError((f"{path}: cannot be read: {what}",), where=str(path)) from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ScenarioError((f"{path}:{line}: not UTF-8",), where=str(path)) from error
    return Document(path, text)


def _scenario(document: Document, roots: tuple[Path, ...]) -> Scenario:
    root = document.root()
    components = _Components(roots)
    services = tuple(_service(table, components) for table in distinct(root.tables("services")))
    steps = tuple(
        _step(table, components, services, "trigger" if index == 0 else "action")
        for index, table in enumerate(distinct(root.tables("steps", required=True)))
    )
    vary = root.table("vary")
    axes = Axes() if vary is None else _axes(vary)
    load_table = root.table("load", required=True)
    profile_table = root.table("profiles", required=True)
    messages = 0 if load_table is None else load_table.whole("messages", 0, least=0)
    profiles = {} if profile_table is None else _profiles(profile_table, messages)
    first = next(iter(profiles.values()), Profile(1, 1))
    scenario = Scenario(
        name=root.name("name"),
        title=root.text("title"),
        flow_type=FlowType(root.choice("flow_type", FlowType)),
        steps=steps,
        load=_load(load_table, messages or first.messages, axes),
        axes=axes,
        profiles=profiles,
        services=services,
        faults=read_faults(root, {step.id for step in steps}),
        variables=root.strings("variables"),
        floor_per_start=root.flag("floor_per_start", default=False),
        phases=read_phases(root),
        search=read_search(root),
        observe=read_observe(root, {step.component for step in steps}),
        unprompted=root.flag("unprompted", default=False),
        drain_timeout_s=root.quantity("drain_timeout", DURATION_MS, "30 s") / 1000,
        path=str(document.path),
    )
    root.finish()
    if scenario.load.loop is Loop.CLOSED and scenario.flow_type is FlowType.ORDINARY:
        document.problem(("load", "loop"), "a closed loop needs a realtime flow")
    for index, fault in enumerate(scenario.faults):
        if isinstance(fault, Freeze) and scenario.flow_type is FlowType.ORDINARY:
            document.problem(("faults", index, "kind"), "a freeze needs a realtime flow")
    if scenario.phases and axes != Axes():
        document.problem(("phases",), "cannot be combined with [vary]")
    _check_search(document, scenario)
    _check_lengths(document, scenario)
    _check_delays(document, scenario)
    varied = vary is not None and vary.has("network_delay")
    check_network_delays(document, scenario.faults, varied=varied)
    return scenario


class _Components:
    """Loads each component once, and says what is wrong with it once per use."""

    def __init__(self, roots: tuple[Path, ...]) -> None:
        self._roots = roots
        self._loaded: dict[str, Component | ComponentError] = {}

    def get(self, table: Table, name: str) -> Component | None:
        """The component that a table names; None, with the problem noted, if it cannot be used."""
        if not NAME.fullmatch(name):
            table.problem("component", f"{name!r} is not the name of a component folder")
            return None
        folder = find_component(name, self._roots)
        if folder is None:
            known = sorted(p.name for root in self._roots for p in root.glob("*") if p.is_dir())
            hint = meant(name, known) or f"; there are {', '.join(known) or 'none'}"
            where = " or ".join(str(root) for root in self._roots if root.is_dir())
            table.problem("component", f"there is no component {name!r} in {where}{hint}")
            return None
        if name not in self._loaded:
            try:
                self._loaded[name] = load_component(folder)
            except ComponentError as error:
                self._loaded[name] = error
        component = self._loaded[name]
        if isinstance(component, ComponentError):
            table.problem("component", str(component))
            return None
        return component


def _step(table: Table, components: _Components, services: Iterable[Service], kind: str) -> Step:
    step = read_step(table, components.get, kind)
    _check_references(table, step.config, [service.id for service in services])
    table.finish()
    return step


def _check_references(table: Table, config: object, known: list[str]) -> None:
    for service in sorted(set(references(config))):
        if service not in known:
            hint = meant(service, known) or "; add it under [[services]]"
            table.problem("config", f"refers to an unknown service {service!r}{hint}")


def _service(table: Table, components: _Components) -> Service:
    name = table.text("component")
    component = components.get(table, name) if name else None
    if component is not None and SERVICE not in component.functions:
        table.problem("component", f"{name!r} is not a service: its manifest has no {SERVICE!r}")
    service = Service(table.name("id"), name, table.whole("port", most=65_535))
    table.finish()
    return service


def _load(table: Table | None, messages: int, axes: Axes) -> Load:
    if table is None:
        return Load(Arrivals.CONSTANT, 1.0, messages, 1)
    # Where payload is varied, the axis says it all.
    payload = f"{axes.payload_bytes[0]} B" if axes.payload_bytes else None
    load = Load(
        arrivals=Arrivals(table.choice("arrivals", Arrivals, Arrivals.CONSTANT)),
        rate_hz=table.quantity("rate", RATE),
        messages=messages,
        payload_bytes=int(table.quantity("payload", SIZE, payload)),
        loop=Loop(table.choice("loop", Loop, Loop.OPEN)),
        processes=table.whole("processes", 1, most=64),
    )
    if load.loop is Loop.CLOSED and load.processes > 1:
        table.problem("processes", "a closed loop is one generator waiting; leave it out")
    table.finish()
    return load


def _axes(table: Table) -> Axes:
    if not table.values:
        table.document.problem(table.key, "is empty; give it an axis, or leave it out")
    axes = Axes(
        containers=table.wholes("containers", least=2),
        payload_bytes=tuple(map(int, table.quantities("payload", SIZE))),
        api_delay_ms=table.quantities("api_delay", DURATION_MS, zero=True),
        delayed_step=table.words("delayed_step"),
        injected_delay_ms=table.quantities("injected_delay", DURATION_MS, zero=True),
        network_delay_ms=table.quantities("network_delay", DURATION_MS, zero=True),
    )
    for one, other in (("delayed_step", "injected_delay"), ("injected_delay", "delayed_step")):
        if table.has(one) and not table.has(other):
            table.problem(one, f"says nothing without {other}; add it")
    table.finish()
    return axes


def _profiles(table: Table, messages: int) -> dict[str, Profile]:
    profiles: dict[str, Profile] = {}
    for name in ("quick", "full"):
        inner = table.table(name, required=name == "quick")
        if inner is not None:
            profiles[name] = Profile(
                inner.whole("starts"), inner.whole("messages", messages or None)
            )
            inner.finish()
    table.finish()
    return profiles


def _check_search(document: Document, scenario: Scenario) -> None:
    if scenario.search is None:
        return
    if scenario.flow_type is FlowType.ORDINARY or scenario.load.loop is Loop.CLOSED:
        document.problem(("search",), "needs a realtime flow and an open loop")
    for key, there in (
        ("phases", bool(scenario.phases)), ("vary", scenario.axes != Axes()),
        ("unprompted", scenario.unprompted),
    ):  # fmt: skip
        if there:
            document.problem(("search",), f"cannot be combined with {key}")


def _check_lengths(document: Document, scenario: Scenario) -> None:
    if len({step.id for step in scenario.steps}) < max(1, len(scenario.steps)):
        return  # Noted already: there are no steps, or two have one id.
    for index, containers in enumerate(scenario.axes.containers):
        key = ("vary", "containers", index)
        written = len(scenario.steps)
        if containers > 2 and written < 3 and containers != written:
            what = f"a flow of {containers} needs a middle step to repeat; the flow has {written}"
            document.problem(key, what)
            continue
        try:
            scenario.flow(containers)
        except InputError as error:
            document.problem(key, f"with {containers} containers, {error}")


def _check_delays(document: Document, scenario: Scenario) -> None:
    known = [step.id for step in scenario.steps]
    for index, name in enumerate(scenario.axes.delayed_step):
        key = ("vary", "delayed_step", index)
        if scenario.axes.containers:
            document.problem(key, "cannot be varied together with containers")
        elif name not in known:
            hint = meant(name, known) or f"; the steps are {', '.join(known)}"
            document.problem(key, f"there is no step {name!r}{hint}")


def _claim(table: Table) -> Claim:
    metric = table.text("metric")
    target = table.table("target")
    claim = Claim(
        id=table.text("id"),
        statement=table.text("statement"),
        metric=metric,
        scenario=table.text("scenario"),
        target=None if target is None else _target(target, metric),
        needs_containers=table.flag("needs_containers", default=False),
        parameters=table.plain("parameters"),
    )
    if not claim.scenario and metric and metric != "not_measured":
        table.problem("scenario", f"is empty; name the one that measures {metric!r}")
    table.finish()
    return claim


def _target(table: Table, metric: str) -> Target:
    target = Target(metric, table.number("limit"), table.text("unit"), table.flag("upper"))
    table.finish()
    return target
