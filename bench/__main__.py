"""The one front door: ``python -m bench run | certify | report | gate | flow | doctor | images``.

Thin: arguments in, one use case, an exit code out. The only module that sees both what measures and
what explains.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from bench.flow.commands import add_flow
from runtime.errors import HopbenchError, InputError
from scenarios.model import Scenario

if TYPE_CHECKING:
    from bench.precision import Wish

OK, MISSED, ERROR, UNDECIDED = 0, 1, 2, 3
INTERRUPTED = 130

_ROOT = Path(__file__).resolve().parents[1]
_COMPONENTS = _ROOT / "scenarios" / "components"
_CATALOGUE = _ROOT / "scenarios" / "catalog"
_CLAIMS = _ROOT / "scenarios" / "claims.toml"


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, do, return the exit code: 0 pass, 1 missed, 2 error, 3 undecided."""
    arguments = _parser().parse_args(argv)
    handler: Callable[[argparse.Namespace], int] = arguments.handler
    try:
        return handler(arguments)
    except HopbenchError as error:
        for line in (error, *getattr(error, "__notes__", ())):
            print(f"hopbench: {line}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("hopbench: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output went away; there is nobody left to tell.
        sys.stderr.close()
        return ERROR
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        print(f"hopbench: {place}{error.strerror or error}", file=sys.stderr)
        return ERROR


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measure integration flows: per-hop latency, warm-up, whole executions.",
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="measure scenarios into a run directory")
    run.add_argument(
        "scenarios",
        nargs="+",
        metavar="SCENARIO",
        help="a name from the catalogue, a path to a .toml file, or 'all'",
    )
    run.add_argument(
        "--launcher", default="auto", help="auto (default), docker: containers, process: processes"
    )
    run.add_argument(
        "--broker", default="auto", help="auto (default), rabbitmq, nats, or an amqp/nats URL"
    )
    run.add_argument("--profile", default="quick", choices=("quick", "full"))
    run.add_argument("--out", type=Path, help="the run directory to make (default: runs/TIME)")
    run.add_argument(
        "--load-processes",
        type=_processes,
        metavar="N",
        help="load generators that share each open loop's schedule (default: as the scenario says)",
    )
    run.add_argument("--seed", type=_seed, help="orders trials and draws arrivals (default: new)")
    run.add_argument(
        "--precision",
        type=_positive("PRECISION"),
        metavar="PERCENT",
        help="add trials until every interval is at most so far from its value, such as 5%%; "
        "exit 3 when that cannot be reached in the time there is",
    )
    run.add_argument(
        "--budget",
        type=_positive("TIME"),
        metavar="TIME",
        help="end within this time, such as 5m (default with --precision: 10m); alone: as many "
        "trials as fit",
    )
    run.add_argument(
        "--certificate",
        type=Path,
        metavar="DIR",
        help="what `certify` made (a folder or its certificate.json): kept with the run, reported",
    )
    run.add_argument("--report", action="store_true", help="make the report as well")
    run.set_defaults(handler=_run)

    certify = commands.add_parser(
        "certify", help="measure the meter itself: known delays, a freeze, its own overhead"
    )
    certify.add_argument(
        "--launcher", default="auto", help="auto (default), docker: containers, process: processes"
    )
    certify.add_argument(
        "--broker", default="auto", help="auto (default), rabbitmq, nats, or an amqp/nats URL"
    )
    certify.add_argument("--out", type=Path, help="the run directory to make (default: runs/TIME)")
    certify.add_argument("--seed", type=_seed, help="as for run (default: new)")
    certify.add_argument("--quick", action="store_true", help="less of everything: to try it out")
    certify.set_defaults(handler=_certify)

    report = commands.add_parser("report", help="make results.json and index.html from a run")
    report.add_argument("run_dir", type=Path, metavar="RUN_DIR")
    report.set_defaults(handler=_report)

    gate = commands.add_parser("gate", help="judge a run: exit 0 met, 1 missed, 2 error")
    gate.add_argument("run_dir", type=Path, metavar="RUN_DIR")
    gate.add_argument("--strict", action="store_true", help="exit 3 when a claim is undecided")
    gate.add_argument("--junit", type=Path, metavar="FILE", help="write JUnit XML, a case a claim")
    gate.add_argument("--markdown", type=Path, metavar="FILE", help="write a Markdown table")
    gate.set_defaults(handler=_gate)

    doctor = commands.add_parser("doctor", help="what this machine has, lacks, and how to get it")
    doctor.add_argument("--clean", action="store_true", help="remove what crashed runs left behind")
    doctor.set_defaults(handler=_doctor)

    add_flow(commands)

    images = commands.add_parser("images", help="build the container images ahead of a run")
    images.set_defaults(handler=_images)
    return parser


def _seed(text: str) -> int:
    seed = int(text)
    if not 0 <= seed < 2**63:
        raise argparse.ArgumentTypeError(f"{text} is not from 0 to {2**63 - 1}")
    return seed


def _positive(kind: str) -> Callable[[str], float]:
    """A reader of a quantity above zero, for an option."""

    def read(text: str) -> float:
        from bench import precision

        try:
            value: float = getattr(precision, kind).parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None
        if value <= 0:
            raise argparse.ArgumentTypeError(f"{text} is not above zero")
        return value

    return read


def _wish(arguments: argparse.Namespace) -> Wish | None:
    """What was asked of the number of trials; None where the profile says it."""
    if arguments.precision is None and arguments.budget is None:
        return None
    from bench.precision import DEFAULT_BUDGET_S, Wish
    from reports.precision import look

    return Wish(arguments.precision, arguments.budget or DEFAULT_BUDGET_S, look)


def _processes(text: str) -> int:
    processes = int(text)
    if not 1 <= processes <= 64:
        raise argparse.ArgumentTypeError(f"{text} is not from 1 to 64")
    return processes


def _run(arguments: argparse.Namespace) -> int:
    from bench import session
    from bench.choice import choose, without_password
    from bench.generators import shared
    from bench.progress import measure
    from bench.request import Request
    from scenarios.files import load_claims

    scenarios = _scenarios(arguments.scenarios)
    if arguments.load_processes is not None:
        scenarios = tuple(shared(scenario, arguments.load_processes) for scenario in scenarios)
    claims = load_claims(_CLAIMS)
    choice = choose(arguments.launcher, arguments.broker)
    out = arguments.out or session.default_out()
    from reports.probes import judge

    request = Request(
        scenarios=scenarios,
        claims=claims,
        choice=choice,
        profile=arguments.profile,
        seed=session.new_seed() if arguments.seed is None else arguments.seed,
        out=out,
        argv=tuple(map(without_password, sys.argv[1:])),
        components_root=_COMPONENTS,
        wish=_wish(arguments),
        certificate=_given_certificate(arguments.certificate),
        judge=judge,
    )
    console = Console(stderr=True)
    result = measure(request, console)
    reached = _show_precision(result.precision, console)
    path = result.folder
    if arguments.report:
        path, _ = _make_report(result.folder)
    print(path)
    if result.status == "interrupted":
        return INTERRUPTED
    if result.problems:
        return ERROR
    return OK if reached else UNDECIDED


def _given_certificate(path: Path | None) -> Mapping[str, Any] | None:
    if path is None:
        return None
    from reports.certificate_file import read_certificate

    return read_certificate(path)


def _certify(arguments: argparse.Namespace) -> int:
    from bench import session
    from bench.certify import certificate_request
    from bench.choice import choose
    from bench.progress import measure
    from reports.certificate import certify
    from reports.certificate_file import FILE, write_certificate
    from reports.render.terminal import render_certificate

    console = Console(stderr=True)
    request = certificate_request(
        choose(arguments.launcher, arguments.broker),
        seed=session.new_seed() if arguments.seed is None else arguments.seed,
        out=arguments.out or session.default_out(),
        quick=arguments.quick,
        argv=sys.argv[1:],
    )
    result = measure(request, console)
    if result.status == "interrupted":
        print(result.folder)
        return INTERRUPTED
    with console.status("analysing"):
        document = certify(result.folder)
        write_certificate(document, result.folder / FILE)
    page, _ = _make_report(result.folder)
    render_certificate(document, Console())
    print(page)
    return {"shown": OK, "not shown": MISSED}.get(document["verdict"], UNDECIDED)


def _show_precision(section: Mapping[str, Any] | None, console: Console) -> bool:
    """Say what was reached of the precision that was asked for; False when it was not."""
    if section is None:
        return True
    from reports.precision import unmet
    from reports.render.precision import lines

    for line in lines(section):
        console.print(f"hopbench: {line}", highlight=False, markup=False, soft_wrap=True)
    return not unmet(section)


def _scenarios(names: Sequence[str]) -> tuple[Scenario, ...]:
    """Load every scenario that is named; all problems of all files are reported at once."""
    from runtime.errors import ScenarioError
    from scenarios.files import load_scenario

    known = {path.stem: path for path in sorted(_CATALOGUE.glob("*.toml"))}
    paths: list[Path] = []
    for name in names:
        if name == "all":
            paths.extend(known.values())
        elif name in known:
            paths.append(known[name])
        elif name.endswith(".toml"):
            paths.append(Path(name))
        else:
            raise InputError(
                f"there is no scenario {name!r}",
                remedy=f"Name one of {', '.join(known)}, 'all', or a .toml file",
            )
    loaded: dict[str, Scenario] = {}
    problems: list[str] = []
    for path in dict.fromkeys(paths):
        try:
            scenario = load_scenario(path, _COMPONENTS)
        except ScenarioError as error:
            problems.extend(error.problems)
            continue
        if scenario.name in loaded:
            problems.append(f"{path}: a second scenario is named {scenario.name!r}")
        loaded[scenario.name] = scenario
    if problems:
        raise ScenarioError(tuple(problems), remedy="Nothing was started")
    return tuple(loaded.values())


def _report(arguments: argparse.Namespace) -> int:
    from reports.render.terminal import render_terminal

    path, damaged = _make_report(arguments.run_dir, show=render_terminal)
    for each in damaged:
        print(f"hopbench: {each}", file=sys.stderr)
    print(path)
    return ERROR if damaged else OK


def _make_report(
    folder: Path, show: Callable[[dict[str, Any], Console], None] | None = None
) -> tuple[Path, list[str]]:
    """Write results and page of a run: the page's path, and what of the run was damaged."""
    from reports.render.html import render_html
    from reports.results import analyse, write_results

    console = Console(stderr=True)
    with console.status("analysing"):
        results = analyse(folder)
        write_results(results, folder / "results.json")
        page = folder / "index.html"
        page.write_text(render_html(results), encoding="utf-8")
    if show is not None:
        show(results, Console())
    damaged = [f"{one['file']}: {one['what']}. {one['remedy']}" for one in results["damaged"]]
    return page.resolve(), damaged


def _gate(arguments: argparse.Namespace) -> int:
    from reports.gate import judge
    from reports.render.junit import render_junit
    from reports.render.markdown import render_markdown
    from reports.render.terminal import render_terminal
    from reports.results import analyse

    with Console(stderr=True).status("analysing"):
        results = analyse(arguments.run_dir)
    verdict = judge(results, strict=arguments.strict)
    if arguments.junit:
        arguments.junit.write_text(render_junit(results), encoding="utf-8")
    if arguments.markdown:
        arguments.markdown.write_text(render_markdown(results), encoding="utf-8")
    render_terminal(results, Console())
    print(verdict.reason)
    return verdict.exit_code


def _doctor(arguments: argparse.Namespace) -> int:
    from bench.doctor import examine, render

    console = Console()
    if arguments.clean:
        from runtime.launch import leftovers

        found = leftovers.clean()
        for one in found.leftovers:
            console.print(f"removed {one}", highlight=False, markup=False)
        console.print(f"{len(found.leftovers)} leftovers removed")
        if found.problem:
            console.print(found.problem, style="yellow", highlight=False, markup=False)
    with console.status("looking at this machine"):
        findings = examine()
    console.print(render(findings))
    return OK


def _images(_arguments: argparse.Namespace) -> int:
    from runtime.images.build import build_all

    console = Console(stderr=True)
    with console.status("building images") as status:
        built = build_all(status.update)
    for image in built:
        print(image.reference)
    return OK


if __name__ == "__main__":
    sys.exit(main())
