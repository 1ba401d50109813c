"""Flows over HTTP: what can be done to them, and what they are doing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Blueprint, Response, jsonify, request

from runtime.api.control import Control
from runtime.api.documents import shown
from runtime.api.queues import Statistics
from runtime.api.reading import json_body, known, member, number
from runtime.api.refusals import refuse
from runtime.errors import InputError
from runtime.model import FlowType
from runtime.platform import FlowStatus
from runtime.store import Store
from runtime.store.failures import MOST_LISTED

_MOST_LINES = 10_000
_LARGEST_NUMBER = 2**53
"""Of an error: the last whole number that is exact in what reads it."""


def flows_blueprint(control: Control, store: Store, statistics: Statistics) -> Blueprint:
    """The routes, to be registered with an app."""
    blueprint = Blueprint("flows", __name__, url_prefix="/v1")
    _add_definitions(blueprint, control, store)
    _add_operations(blueprint, control, store)
    _add_observations(blueprint, control, store, statistics)
    return blueprint


def _add_definitions(blueprint: Blueprint, control: Control, store: Store) -> None:
    @blueprint.put("/flows/<flow>/draft")
    def save_draft(flow: str) -> Response:
        """Replace the draft; a new flow is made."""
        text = request.args.get("type")
        flow_type = None if text is None else _flow_type(text)
        draft = control.save_draft(flow, json_body(), flow_type, where=f"flow {flow}")
        return jsonify(shown(draft))

    @blueprint.get("/flows/<flow>/draft")
    def draft(flow: str) -> Response:
        """The draft; 404 without one."""
        known(store, flow)
        found = store.flows.draft(flow)
        if found is None:
            refuse(InputError(f"flow {flow!r} has no draft", remedy="Save one"), 404)
        return jsonify(shown(found))

    @blueprint.get("/flows/<flow>/versions")
    def versions(flow: str) -> Response:
        """All published versions, oldest first."""
        known(store, flow)
        return jsonify(shown(store.flows.versions(flow)))

    @blueprint.post("/flows/<flow>/publish")
    def publish(flow: str) -> Response:
        """The draft becomes the next version; what runs is replaced by it."""
        known(store, flow)
        return jsonify(shown(control.publish(flow)))

    @blueprint.post("/flows/<flow>/revert")
    def revert(flow: str) -> Response:
        """An older version becomes the draft."""
        known(store, flow)
        return jsonify(shown(control.revert(flow, member("version", int, "a version's number"))))


def _add_operations(blueprint: Blueprint, control: Control, store: Store) -> None:
    operations: dict[str, Callable[[str], object]] = {
        "start": control.start,
        "stop": control.stop,
        "suspend": control.suspend,
        "resume": control.resume,
    }

    @blueprint.post("/flows/<flow>/<any(start, stop, suspend, resume):operation>")
    def operate(flow: str, operation: str) -> Response:
        """Do it; the answer is the flow's status afterwards."""
        known(store, flow)
        operations[operation](flow)
        return jsonify(_status(control.status(flow)))

    @blueprint.post("/flows/<flow>/switch")
    def switch(flow: str) -> Response:
        """Change the type of a stopped flow."""
        known(store, flow)
        control.switch(flow, _flow_type(member("type", str, "ordinary or realtime, as a string")))
        return jsonify(_status(control.status(flow)))


def _add_observations(
    blueprint: Blueprint, control: Control, store: Store, statistics: Statistics
) -> None:
    @blueprint.get("/flows")
    def flows() -> Response:
        """The status of all flows."""
        return jsonify([_status(one) for one in control.statuses()])

    @blueprint.get("/flows/<flow>")
    def status(flow: str) -> Response:
        """The status of one flow and its steps."""
        known(store, flow)
        return jsonify(_status(control.status(flow)))

    @blueprint.get("/flows/<flow>/steps/<step>/logs")
    def logs(flow: str, step: str) -> Response:
        """The last lines that a step wrote."""
        known(store, flow)
        last = int(number("last", 20, least=1, most=_MOST_LINES))
        return jsonify(text=control.logs(flow, step, last))

    @blueprint.get("/flows/<flow>/errors")
    def errors(flow: str) -> Response:
        """What went wrong with messages, oldest first: a page of it."""
        known(store, flow)
        limit = int(number("limit", MOST_LISTED, least=1, most=MOST_LISTED))
        after = int(number("after", 0, least=0, most=_LARGEST_NUMBER))
        return jsonify(shown(control.errors(flow, limit, after)))

    @blueprint.post("/flows/<flow>/errors/<int:number>/retry")
    def retry(flow: str, number: int) -> Response:
        """Publish the input of one error again."""
        known(store, flow)
        return jsonify(retried=control.retry(flow, number))

    @blueprint.post("/flows/<flow>/errors/retry")
    def retry_all(flow: str) -> Response:
        """Publish the inputs of all errors again."""
        known(store, flow)
        return jsonify(retried=control.retry(flow))

    @blueprint.get("/flows/<flow>/queues")
    def queues(flow: str) -> Response:
        """How full each step's queue is."""
        known(store, flow)
        return jsonify(shown(statistics.of(flow)))

    @blueprint.get("/flows/<flow>/ticks")
    def ticks(flow: str) -> Response:
        """What became of the calls by clock; null where there are none."""
        known(store, flow)
        return jsonify(shown(control.ticks(flow)))

    @blueprint.get("/flows/<flow>/history")
    def history(flow: str) -> Response:
        """What was done to a flow, newest first."""
        known(store, flow)
        return jsonify(shown(control.history(flow)))

    @blueprint.get("/history")
    def whole_history() -> Response:
        """What the platform did, newest first."""
        return jsonify(shown(control.history()))


def _status(status: FlowStatus) -> Any:
    return {**shown(status.entry), "steps": shown(status.steps)}


def _flow_type(text: str) -> FlowType:
    try:
        return FlowType(text)
    except ValueError:
        kinds = " or ".join(FlowType)
        raise InputError(f"there is no flow type {text!r}", remedy=f"Say {kinds}") from None
