"""The webhook trigger: ``POST /hook/FLOW`` hands its JSON to the flow's first step.

202 when the queue has it; 429 when the queue is full, or the quota used; with ``?reply=1`` the
answer is what the flow replies, or 504 when it has not replied ``within`` so many seconds.
"""

from __future__ import annotations

import math
import threading
import time
from concurrent.futures import TimeoutError as TooLate
from http import HTTPStatus

from flask import Blueprint, Response, jsonify, request

from runtime.api.control import Control
from runtime.api.entrance import CONFIRM_TIMEOUT_S, Call, Doors, new_call
from runtime.api.quota import Quota
from runtime.api.reading import flag, json_body, known, number
from runtime.api.refusals import refuse
from runtime.errors import (
    BrokerError,
    BrokerUnavailable,
    FlowError,
    MessageTooLarge,
    PublishRefused,
    StateError,
)
from runtime.flows import FlowEntry, TriggerKind, Version
from runtime.message import SIZE_LIMIT_BYTES, decode_body
from runtime.model import FlowState
from runtime.store import Store

REPLY_WITHIN_S = 30.0
MOST_WAITING = 16
"""Requests that wait for a reply; each holds a thread of the server."""
_LONGEST_WAIT_S = 300.0
_INSTEAD = {FlowState.STOPPED: "Start it first", FlowState.SUSPENDED: "Resume it first"}
_UP = (FlowState.RUNNING, FlowState.SLEEPING)
_SECRET = frozenset({"authorization", "cookie", "proxy-authorization"})
_ERROR_HEADER = "x-eio-error-response"


class Webhook:
    """What stays between requests: versions (which never change), and their quotas."""

    def __init__(self, control: Control, store: Store, doors: Doors) -> None:
        self._control, self._store, self._doors = control, store, doors
        self._lock = threading.Lock()
        self._versions: dict[str, Version] = {}
        self._quotas: dict[str, Quota] = {}
        self._waiting = threading.BoundedSemaphore(MOST_WAITING)

    def blueprint(self) -> Blueprint:
        """The route, to be registered with an app."""
        blueprint = Blueprint("webhook", __name__)
        blueprint.post("/hook/<flow>")(self.call)
        return blueprint

    def call(self, flow: str) -> Response:
        """Take one call of a flow's webhook."""
        version = self._callable(known(self._store, flow))
        self._count(flow)
        within_s = number("within", REPLY_WITHIN_S, least=0.01, most=_LONGEST_WAIT_S)
        call = new_call(
            self._control.entry_route(flow),
            json_body(),
            {
                name.lower(): value
                for name, value in request.headers.items()
                if name.lower() not in _SECRET
            },
            persistent=version.definition.steps[0].persistent,
            wants_reply=flag("reply"),
        )
        if len(call.message.body) > SIZE_LIMIT_BYTES:
            raise MessageTooLarge(
                f"with its headers and its envelope this is a message of "
                f"{len(call.message.body)} bytes, over the limit of {SIZE_LIMIT_BYTES}",
                where=f"flow {flow}",
                remedy="Send less",
            )
        if not call.wants_reply:
            self._hand_in(flow, call)
            return _accepted(call)
        if not self._waiting.acquire(blocking=False):
            raise PublishRefused(f"{MOST_WAITING} calls wait for a reply already")
        try:
            return self._reply(flow, call, within_s)
        finally:
            self._waiting.release()

    def _callable(self, entry: FlowEntry) -> Version:
        if entry.state not in _UP or entry.running is None:
            raise StateError(
                f"flow {entry.name!r} is {entry.state}, and takes no calls",
                remedy=_INSTEAD.get(entry.state, "Call again when it runs"),
            )
        with self._lock:
            version = self._versions.get(entry.name)
            if version is None or version.number != entry.running:
                version = self._store.flows.version(entry.name, entry.running)
                self._versions[entry.name] = version
                self._quotas.pop(entry.name, None)
                quota_per_s = version.definition.trigger.quota_per_s
                if quota_per_s is not None:
                    self._quotas[entry.name] = Quota(quota_per_s)
        if version.definition.trigger.kind is not TriggerKind.WEBHOOK:
            raise StateError(
                f"flow {entry.name!r} has no webhook: its trigger is "
                f"{version.definition.trigger.kind.value!r}",
                remedy='Publish a draft with trigger.kind = "webhook"',
            )
        return version

    def _count(self, flow: str) -> None:
        quota = self._quotas.get(flow)
        wait_s = quota.take(time.monotonic_ns()) if quota is not None else 0.0
        if wait_s:
            error = PublishRefused(
                "the quota of this webhook is used up",
                where=f"flow {flow}",
                remedy=f"Call again in {math.ceil(wait_s)} s",
            )
            refuse(error, 429, {"Retry-After": str(math.ceil(wait_s))})

    def _hand_in(self, flow: str, call: Call) -> Call:
        """Return the call that was taken: another one where a publish has changed the queues."""
        if self._is_taken(flow, call):
            return call
        self._callable(known(self._store, flow))
        route = self._control.entry_route(flow)
        if route != call.route:
            moved = Call(route, call.message, call.ids, call.wants_reply)
            if self._is_taken(flow, moved):
                return moved
        raise PublishRefused(
            "the first queue is full",
            where=f"flow {flow}",
            remedy="Call again when its steps have caught up",
        )

    def _is_taken(self, flow: str, call: Call) -> bool:
        self._doors.submit(call)
        try:
            return call.accepted.result(CONFIRM_TIMEOUT_S)
        except TooLate:
            self._doors.forget(call)
            raise BrokerUnavailable(
                "the broker has not said whether it took the message", where=f"flow {flow}"
            ) from None
        except BrokerError:
            # An exchange that is gone breaks the connection: it went with its flow.
            self._callable(known(self._store, flow))
            raise

    def _reply(self, flow: str, call: Call, within_s: float) -> Response:
        call = self._hand_in(flow, call)
        try:
            message = call.reply.result(within_s)
        except TooLate:
            self._doors.forget(call)
            raise FlowError(
                f"no reply within {within_s:g} s; the message was accepted",
                where=f"flow {flow}",
                remedy="Does a step emit 'httpReply'? See the flow's errors, or wait longer",
            ) from None
        try:
            reply = decode_body(message.body)
        except ValueError as error:
            raise FlowError(f"a reply that cannot be read: {error}", where=flow) from error
        if message.headers.get(_ERROR_HEADER):
            body = reply["body"] if isinstance(reply["body"], dict) else {}
            step = f"flow {flow}, step {body.get('step', '?')}"
            refuse(FlowError(str(body.get("error", "a step failed")), where=step), 500)
        response = jsonify(reply["body"])
        response.status_code = _status(reply.get("statusCode"))
        return response


def _accepted(call: Call) -> Response:
    response = jsonify(trace=f"{call.ids.trace:016x}")
    response.status_code = HTTPStatus.ACCEPTED
    return response


def _status(wanted: object) -> int:
    """What the component says the answer's status is; 200 where it says nothing usable."""
    return wanted if isinstance(wanted, int) and 200 <= wanted <= 599 else HTTPStatus.OK
