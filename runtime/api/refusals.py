"""Errors as HTTP answers: each with what happened, where, and what to do next.

The document is ``{"error", "where", "remedy", "problems"}``; ``error`` is what the official
component runtime shows of a refusal.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NoReturn

from flask import Flask, Response, abort, jsonify
from werkzeug.exceptions import HTTPException

from runtime.errors import (
    BrokerError,
    EngineUnavailable,
    FlowError,
    HopbenchError,
    InputError,
    LaunchError,
    MessageTooLarge,
    PublishRefused,
    StateError,
)

STATUS: tuple[tuple[type[HopbenchError], int], ...] = (
    (InputError, 400),
    (StateError, 409),
    (MessageTooLarge, 413),
    (PublishRefused, 429),
    (LaunchError, 502),
    (BrokerError, 503),
    (FlowError, 504),
)
"""The first that fits; all others are 500."""


def status_of(error: HopbenchError) -> int:
    """The HTTP status that says what kind of error it is."""
    if isinstance(error, EngineUnavailable):
        return 503
    return next((status for kind, status in STATUS if isinstance(error, kind)), 500)


def answer(error: HopbenchError, status: int, headers: Mapping[str, str] | None = None) -> Response:
    """The answer that tells of an error."""
    response = jsonify(
        error=error.what,
        where=error.where,
        remedy=error.remedy,
        problems=list(getattr(error, "problems", ())),
    )
    response.status_code = status
    response.headers.update(headers or {})
    if status == 429:
        # Nobody knows when a queue will have room; who asks each second does no harm.
        response.headers.setdefault("Retry-After", "1")
    return response


def refuse(error: HopbenchError, status: int, headers: Mapping[str, str] | None = None) -> NoReturn:
    """End the request with this error and this status, whatever its kind."""
    abort(answer(error, status, headers))


def install(app: Flask) -> None:
    """Let every error of the app be answered so."""

    @app.errorhandler(HopbenchError)
    def _ours(error: HopbenchError) -> Response:
        return answer(error, status_of(error))

    @app.errorhandler(HTTPException)
    def _flasks(error: HTTPException) -> Response:
        if error.response is not None:
            assert isinstance(error.response, Response)
            return error.response
        status = error.code or 500
        given = error.get_headers()
        kept = {name: value for name, value in given if name in {"Allow", "Location"}}
        return answer(HopbenchError(error.name, remedy=_REMEDIES.get(status, "")), status, kept)


_REMEDIES = {
    404: "openapi.json lists the paths there are",
    405: "The header Allow says which methods there are",
    413: "Send less: 10 MiB is the limit",
    500: "The platform's log has the traceback",
}
