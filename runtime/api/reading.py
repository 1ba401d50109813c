"""Takes a request apart: its JSON, its parameters, the flow it is about."""

from __future__ import annotations

from typing import Any

import orjson
from flask import request

from runtime.api.refusals import refuse
from runtime.errors import InputError
from runtime.flows import FlowEntry
from runtime.store import Store

_WHERE = "the request's body"


def known(store: Store, flow: str) -> FlowEntry:
    """The flow of a request; ends it with 404 where there is none of that name."""
    try:
        return store.flows.entry(flow)
    except InputError as error:
        refuse(error, 404)


def json_body() -> Any:
    """The body as JSON. Raises InputError where it is none."""
    content = request.get_data(cache=False)
    if not content:
        raise InputError("is empty", where=_WHERE, remedy="Send JSON")
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError as error:
        place = f"{_WHERE}, line {error.lineno}, column {error.colno}"
        raise InputError(f"is not JSON: {error.msg}", where=place, remedy="Send JSON") from None


def member(name: str, kind: type[Any], what: str) -> Any:
    """One member of a body that is an object with this one alone. Raises InputError."""
    document = json_body()
    if not isinstance(document, dict) or set(document) != {name}:
        raise InputError(
            f"is not an object with the member {name!r} alone",
            where=_WHERE,
            remedy=f'Send {{"{name}": {what}}}',
        )
    value = document[name]
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise InputError(f"{name!r} must be {what}", where=_WHERE)
    return value


def number(name: str, default: float, *, least: float, most: float) -> float:
    """A number among the query's parameters. Raises InputError."""
    text = request.args.get(name)
    if text is None:
        return default
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not least <= value <= most:
        raise InputError(
            f"{text!r} is not a number from {least:g} to {most:g}", where=f"the parameter {name!r}"
        )
    return value


def flag(name: str) -> bool:
    """Whether a parameter of the query is 1; it may be left out. Raises InputError."""
    text = request.args.get(name)
    if text not in {None, "1"}:
        raise InputError(
            f"{text!r} is not 1", where=f"the parameter {name!r}", remedy="Say 1, or leave it out"
        )
    return text is not None
