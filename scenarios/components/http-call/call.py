"""Calls a service over HTTP, once per message, and reports status and size of the answer.

Configuration: ``url``; ``timeout_s`` (10) of one attempt's connect and of each of its reads;
``response_bytes`` (0), the size of the answer to ask for. The body's ``delay_ms``, where it is
not null, is asked for too.
"""

from __future__ import annotations

import http.client
from typing import Any
from urllib.parse import urlencode, urlsplit

_connections: dict[tuple[str, float], http.client.HTTPConnection] = {}


def process(msg: dict[str, Any], cfg: dict[str, Any], snapshot: dict[str, Any]) -> dict[str, Any]:
    """Call, and give on what came back, without the message's data.

    Raises OSError or HTTPException when there is no answer in time, RuntimeError on a status of
    400 or more.
    """
    body = msg["body"]
    query: dict[str, Any] = {"bytes": cfg.get("response_bytes", 0)}
    if body.get("delay_ms") is not None:
        query["ms"] = body["delay_ms"]
    status, size = _get(cfg["url"], query, float(cfg.get("timeout_s", 10.0)))
    if status >= 400:
        raise RuntimeError(f"{cfg['url']} answered with status {status}")
    return {
        "body": {
            "sequence": body.get("sequence"),
            "delay_ms": body.get("delay_ms"),
            "status": status,
            "size": size,
        }
    }


def shutdown(cfg: dict[str, Any]) -> None:
    """Close the kept connections."""
    while _connections:
        _connections.popitem()[1].close()


def _get(url: str, query: dict[str, Any], timeout_s: float) -> tuple[int, int]:
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.netloc:
        raise ValueError(f"not an http:// URL: {url!r}")
    target = f"{parts.path or '/'}?{'&'.join(filter(None, (parts.query, urlencode(query))))}"
    connection = _connections.get((parts.netloc, timeout_s))
    if connection is None:
        connection = http.client.HTTPConnection(parts.netloc, timeout=timeout_s)
        _connections[parts.netloc, timeout_s] = connection
    kept = connection.sock is not None
    try:
        return _exchange(connection, target)
    except ConnectionError:
        # A server may close a kept connection at any time; only a fresh one failing is an error.
        if not kept:
            raise
    return _exchange(connection, target)


def _exchange(connection: http.client.HTTPConnection, target: str) -> tuple[int, int]:
    try:
        connection.request("GET", target)
        response = connection.getresponse()
        return response.status, len(response.read())
    except (OSError, http.client.HTTPException):
        connection.close()
        raise
