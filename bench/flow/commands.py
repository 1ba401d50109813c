"""``python -m bench flow``: its commands, what each takes, and what it calls."""

from __future__ import annotations

import argparse
import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.flow import shown
from bench.flow.place import VARIABLE, store_folder
from runtime.errors import InputError

if TYPE_CHECKING:
    from bench.flow.client import Client

Handler = Callable[[argparse.Namespace], int]
Commands = Any
"""What ``add_subparsers`` returns has no public name."""


def add_flow(commands: Commands) -> None:
    """Add the command to the front door."""
    flow = commands.add_parser("flow", help="the platform: serve it, deploy, publish, start, stop")
    flows = flow.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_serve(flows)
    _add_definitions(flows)
    for name, what in (
        ("start", "start a stopped flow"),
        ("stop", "stop it, and drop what is unprocessed"),
        ("suspend", "stop its containers, and keep what is unprocessed"),
        ("resume", "go on with a suspended flow"),
    ):
        one = _command(flows, name, what, _operate)
        one.add_argument("flow")
        one.set_defaults(operation=name)
    switch = _command(flows, "switch", "change the type of a stopped flow", _switch)
    switch.add_argument("flow")
    switch.add_argument("type", choices=("ordinary", "realtime"))
    _add_messages(flows)
    _add_observations(flows)


def _command(flows: Commands, name: str, what: str, handler: Handler) -> argparse.ArgumentParser:
    one: argparse.ArgumentParser = flows.add_parser(name, help=what, description=what)
    _add_store(one)
    one.add_argument("--json", action="store_true", help="print the platform's answer as JSON")
    one.set_defaults(handler=handler)
    return one


def _add_store(one: argparse.ArgumentParser) -> None:
    one.add_argument(
        "--store",
        type=Path,
        metavar="DIR",
        help=f"the platform's folder (default: {VARIABLE}, else ./platform)",
    )


def _add_serve(flows: Commands) -> None:
    serve = flows.add_parser("serve", help="run the platform until Ctrl-C or SIGTERM")
    _add_store(serve)
    serve.add_argument("--launcher", default="auto", help="as for run (default: auto)")
    serve.add_argument("--broker", default="auto", help="as for run (default: auto)")
    serve.add_argument("--bind", default="127.0.0.1", metavar="ADDRESS", help="where to listen")
    serve.add_argument("--port", type=_port, default=0, help="default: one that is free")
    serve.set_defaults(handler=_serve)


def _add_definitions(flows: Commands) -> None:
    deploy = _command(flows, "deploy", "keep component folders as their next revisions", _deploy)
    deploy.add_argument("folder", nargs="+", type=Path)
    draft = _command(flows, "draft", "save a flow's draft from a TOML or JSON file", _draft)
    draft.add_argument("flow")
    draft.add_argument("file", type=Path)
    draft.add_argument(
        "--type", choices=("ordinary", "realtime"), help="of a new flow (default: ordinary)"
    )
    publish = _command(flows, "publish", "make the draft the next version, and run it", _publish)
    publish.add_argument("flow")
    revert = _command(flows, "revert", "make an older version the draft", _revert)
    revert.add_argument("flow")
    revert.add_argument("version", type=int)


def _add_messages(flows: Commands) -> None:
    call = _command(flows, "call", "call a flow's webhook with JSON", _call)
    call.add_argument("flow")
    call.add_argument("body", help="the JSON itself, or - for standard input")
    call.add_argument("--reply", action="store_true", help="wait for the flow's reply")
    errors = _command(flows, "errors", "what went wrong with messages", _errors)
    errors.add_argument("flow")
    errors.add_argument(
        "--after", type=int, default=0, metavar="NUMBER", help="only those with a higher number"
    )
    errors.add_argument(
        "--limit", type=int, default=1000, metavar="N", help="at most so many (default: 1000)"
    )
    retry = _command(flows, "retry", "publish the input of an error, or of all, again", _retry)
    retry.add_argument("flow")
    which = retry.add_mutually_exclusive_group(required=True)
    which.add_argument("number", nargs="?", type=int, help="the error's number, as `errors` says")
    which.add_argument("--all", action="store_true")
    queues = _command(flows, "queues", "how full each step's queue is", _queues)
    queues.add_argument("flow")
    ticks = _command(flows, "ticks", "what became of a flow's calls by clock", _ticks)
    ticks.add_argument("flow")


def _add_observations(flows: Commands) -> None:
    status = _command(flows, "status", "what all flows, or one, are doing", _status)
    status.add_argument("flow", nargs="?")
    logs = _command(flows, "logs", "the last lines that a step wrote", _logs)
    logs.add_argument("flow")
    logs.add_argument("step")
    logs.add_argument("--last", type=int, default=20, metavar="LINES")
    history = _command(flows, "history", "what was done to a flow, or to all", _history)
    history.add_argument("flow", nargs="?")


def _port(text: str) -> int:
    try:
        port = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
    if not 0 <= port < 65536:
        raise argparse.ArgumentTypeError(f"{text} is not from 0 to 65535")
    return port


def _serve(arguments: argparse.Namespace) -> int:
    from bench.flow.serve import serve

    return serve(
        store_folder(arguments.store),
        launcher=arguments.launcher,
        broker=arguments.broker,
        host=arguments.bind,
        port=arguments.port,
    )


def _client(arguments: argparse.Namespace) -> Client:
    # Not for those who only ask what commands there are.
    from bench.flow.client import Client

    return Client(store_folder(arguments.store))


def _show(arguments: argparse.Namespace, answer: Any, show: Callable[[Any], None]) -> int:
    """Print an answer for people or, where it was asked for, for machines."""
    if arguments.json:
        print(json.dumps(answer, indent=1))
    else:
        show(answer)
    return 0


def _deploy(arguments: argparse.Namespace) -> int:
    client = _client(arguments)
    entries = [
        client.post("v1", "components", document={"folder": str(folder.absolute())})
        for folder in arguments.folder
    ]
    return _show(arguments, entries, shown.revisions)


def _draft(arguments: argparse.Namespace) -> int:
    draft = _client(arguments).put(
        *("v1", "flows", arguments.flow, "draft"),
        document=_document(arguments.file),
        type=arguments.type,
    )
    return _show(arguments, draft, shown.draft)


def _document(path: Path) -> Any:
    """What a TOML or a JSON file holds. Raises InputError where it is neither."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"cannot be read: {error}", where=str(path), remedy="Name a TOML or a JSON file"
        ) from error
    try:
        if path.suffix == ".json":
            return json.loads(text)
        document = tomllib.loads(text)
        json.dumps(document)
    except (ValueError, RecursionError) as error:
        kind = "JSON" if path.suffix == ".json" else "TOML"
        raise InputError(f"is not {kind}: {error}", where=str(path)) from error
    except TypeError as error:
        raise InputError(
            f"holds what JSON has no word for: {error}",
            where=str(path),
            remedy="Write dates as strings",
        ) from error
    return document


def _publish(arguments: argparse.Namespace) -> int:
    version = _client(arguments).post("v1", "flows", arguments.flow, "publish")
    return _show(arguments, version, shown.version)


def _revert(arguments: argparse.Namespace) -> int:
    document = {"version": arguments.version}
    draft = _client(arguments).post("v1", "flows", arguments.flow, "revert", document=document)
    return _show(arguments, draft, shown.draft)


def _operate(arguments: argparse.Namespace) -> int:
    status = _client(arguments).post("v1", "flows", arguments.flow, arguments.operation)
    return _show(arguments, status, shown.state)


def _switch(arguments: argparse.Namespace) -> int:
    document = {"type": arguments.type}
    status = _client(arguments).post("v1", "flows", arguments.flow, "switch", document=document)
    return _show(arguments, status, shown.state)


def _call(arguments: argparse.Namespace) -> int:
    import sys

    text = sys.stdin.read() if arguments.body == "-" else arguments.body
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"the body is not JSON: {error}", remedy="Quote it for the shell") from (
            error
        )
    reply = 1 if arguments.reply else None
    answer = _client(arguments).post("hook", arguments.flow, document=document, reply=reply)
    if arguments.json or arguments.reply:
        print(json.dumps(answer, indent=1))
    else:
        print(f"accepted, trace {answer['trace']}")
    return 0


def _errors(arguments: argparse.Namespace) -> int:
    failures = _client(arguments).get(
        *("v1", "flows", arguments.flow, "errors"), after=arguments.after, limit=arguments.limit
    )
    status = _show(arguments, failures, shown.errors)
    if not arguments.json and len(failures) == arguments.limit:
        shown.more(failures[-1]["id"])
    return status


def _retry(arguments: argparse.Namespace) -> int:
    which = () if arguments.all else (str(arguments.number),)
    path = ("v1", "flows", arguments.flow, "errors", *which, "retry")
    return _show(arguments, _client(arguments).post(*path), shown.retried)


def _queues(arguments: argparse.Namespace) -> int:
    queues = _client(arguments).get("v1", "flows", arguments.flow, "queues")
    return _show(arguments, queues, shown.queues)


def _ticks(arguments: argparse.Namespace) -> int:
    ticks = _client(arguments).get("v1", "flows", arguments.flow, "ticks")
    return _show(arguments, ticks, shown.ticks)


def _status(arguments: argparse.Namespace) -> int:
    client = _client(arguments)
    if arguments.flow is None:
        return _show(arguments, client.get("v1", "flows"), shown.flows)
    return _show(arguments, client.get("v1", "flows", arguments.flow), shown.flow)


def _logs(arguments: argparse.Namespace) -> int:
    path = ("v1", "flows", arguments.flow, "steps", arguments.step, "logs")
    return _show(arguments, _client(arguments).get(*path, last=arguments.last), shown.log)


def _history(arguments: argparse.Namespace) -> int:
    about = () if arguments.flow is None else ("flows", arguments.flow)
    answer = _client(arguments).get("v1", *about, "history")
    return _show(arguments, answer, shown.history)
