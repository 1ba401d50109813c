"""A trigger that listens once: the first call opens the connection, the others see it is there.

The same as ``listen-careless`` but for the guard in ``process``: each event is handled once,
however often a realtime flow calls it. A listener that has ended is replaced by the next call.

Configuration: ``url``, as ``http://${services.events}/events?rate_hz=20``.
"""

from __future__ import annotations

import http.client
import json
import threading
from typing import Any
from urllib.parse import urlsplit

CONNECT_TIMEOUT_S = 10.0
_listener: threading.Thread | None = None
_listeners = 0


def process(
    msg: dict[str, Any], cfg: dict[str, Any], snapshot: dict[str, Any], context: Any
) -> None:
    """Listen, unless it is being done. What is heard is emitted later."""
    global _listener, _listeners  # noqa: PLW0603
    if _listener is not None and _listener.is_alive():
        return
    _listeners += 1
    events = connect(cfg["url"])
    _listener = threading.Thread(target=listen, args=(events, context, _listeners), daemon=True)
    _listener.start()


def connect(url: str) -> http.client.HTTPResponse:
    """The open stream of events. Raises OSError or RuntimeError where there is none."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=CONNECT_TIMEOUT_S)
    connection.request("GET", f"{parts.path}?{parts.query}")
    stream = connection.sock
    assert stream is not None
    response = connection.getresponse()
    if response.status != 200:
        raise RuntimeError(f"{url} answered with status {response.status}")
    # The answer was due in time; the next event may take as long as it likes.
    stream.settimeout(None)
    return response


def listen(events: http.client.HTTPResponse, context: Any, listener: int) -> None:
    """Emit every event. Raises ConnectionError when the stream ends: somebody has to know."""
    while line := events.readline():
        if line.startswith(b"data: "):
            context.emit("data", {"body": message(json.loads(line[6:]), listener)})
    raise ConnectionError("the source of events has closed the stream")


def message(event: dict[str, Any], listener: int) -> dict[str, Any]:
    """The event as a body that every action of the catalogue takes."""
    return {**event, "listener": listener, "sequence": event["event"], "delay_ms": None, "data": ""}
