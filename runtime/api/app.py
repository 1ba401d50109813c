"""The HTTP API as one WSGI app: its routes, who may call them, how errors are answered."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
from flask import Flask, Response, jsonify, request

from runtime.api import refusals
from runtime.api.access import Access
from runtime.api.components import components_blueprint
from runtime.api.control import Control
from runtime.api.entrance import Doors
from runtime.api.flows import flows_blueprint
from runtime.api.queues import Statistics
from runtime.api.steps import steps_blueprint
from runtime.api.webhook import Webhook
from runtime.broker.census import Census
from runtime.errors import HopbenchError, InputError
from runtime.message import SIZE_LIMIT_BYTES
from runtime.store import Store

OPENAPI = Path(__file__).with_name("openapi.json")
_OPEN = {"health"}
_OF_FLOWS = {"steps", "webhook"}
_QUERY: Mapping[str | None, frozenset[str]] = {
    "flows.save_draft": frozenset({"type"}),
    "flows.logs": frozenset({"last"}),
    "flows.errors": frozenset({"limit", "after"}),
    "webhook.call": frozenset({"reply", "within"}),
}
"""The parameters of a query that each endpoint reads; all others read none."""


def create_app(
    control: Control,
    store: Store,
    doors: Doors,
    access: Access,
    *,
    spans: Path | None = None,
    census: Census | None = None,
) -> Flask:
    """The API of one platform. Every path but ``/healthz`` needs Basic credentials.

    ``spans`` is the folder that containers write to, ``census`` says what consumers have of
    queues; without them there are fewer statistics.
    """
    app = Flask("hopbench", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = SIZE_LIMIT_BYTES
    app.json.sort_keys = False  # type: ignore[attr-defined]  # of Flask's default provider
    refusals.install(app)

    @app.before_request
    def check() -> Response | None:
        if request.endpoint in _OPEN:
            return None
        if not _may(access):
            return _unauthorised()
        _check_query()
        return None

    @app.get("/healthz")
    def health() -> Response:
        """The platform answers."""
        return jsonify(status="ok")

    @app.get("/openapi.json")
    def description() -> Response:
        """What the API is, in its own words."""
        return jsonify(openapi())

    statistics = Statistics(control, store, spans, census)
    app.register_blueprint(flows_blueprint(control, store, statistics))
    app.register_blueprint(components_blueprint(control, store))
    app.register_blueprint(steps_blueprint(store))
    app.register_blueprint(Webhook(control, store, doors).blueprint())
    return app


def openapi() -> Mapping[str, Any]:
    """The description of the API that is kept beside it."""
    document: Mapping[str, Any] = orjson.loads(OPENAPI.read_bytes())
    return document


def _may(access: Access) -> bool:
    """Whether the request's credentials open what it asks for."""
    given = request.authorization
    if given is None or given.type != "basic":
        return False
    user, password = given.username or "", given.password or ""
    if access.is_operator(user, password):
        return True
    flow = (request.view_args or {}).get("flow")
    is_its_own = request.blueprint in _OF_FLOWS and isinstance(flow, str)
    return is_its_own and access.is_flow(user, password, str(flow))


def _check_query() -> None:
    """Raise InputError for parameters that nobody would read: one that is misspelt, most likely."""
    known = _QUERY.get(request.endpoint, frozenset())
    unknown = sorted(set(request.args) - known)
    if request.url_rule is not None and unknown:
        there = ", ".join(sorted(known)) or "none"
        raise InputError(
            f"there is no parameter {', '.join(map(repr, unknown))}",
            where=f"the query of {request.path}",
            remedy=f"Its parameters: {there}",
        )


def _unauthorised() -> Response:
    error = HopbenchError(
        "these credentials do not open this",
        where=request.path,
        remedy="Send the user and password that `bench flow serve` wrote into platform.json",
    )
    return refusals.answer(error, 401, {"WWW-Authenticate": 'Basic realm="hopbench"'})
