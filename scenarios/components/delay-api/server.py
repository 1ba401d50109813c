"""An HTTP/1.1 service of controlled delay, run beside a flow: ``python3 server.py --port 8080``.

``GET /delay?ms=80&bytes=1024`` answers 80 ms after the request was read, with 1024 bytes;
``GET /healthz`` answers at once. Connections are kept. Each has a thread of its own, which sleeps
out the delay: that overshoots by some 0.1 ms, an event loop's timer by 1 ms.
"""

from __future__ import annotations

import argparse
import math
import os
import signal
import sys
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from types import FrameType
from typing import NoReturn
from urllib.parse import parse_qs, urlsplit

MOST_MS = 60_000.0
MOST_BYTES = 64 * 1024 * 1024


class DelayHandler(BaseHTTPRequestHandler):
    """Answers one connection's requests, one after another."""

    protocol_version = "HTTP/1.1"
    # Head and body leave in one segment, at once: otherwise Nagle's algorithm adds up to 40 ms.
    disable_nagle_algorithm = True
    wbufsize = -1

    def do_GET(self) -> None:
        """Answer ``/delay`` and ``/healthz``."""
        arrived_ns = time.monotonic_ns()
        parts = urlsplit(self.path)
        if parts.path == "/healthz":
            self.answer(HTTPStatus.OK, b"ok\n")
        elif parts.path == "/delay":
            query = parse_qs(parts.query)
            try:
                delay_ms = bounded(query.get("ms", ["0"])[-1], MOST_MS)
                body = b"x" * int(bounded(query.get("bytes", ["0"])[-1], MOST_BYTES))
            except ValueError as error:
                self.answer(HTTPStatus.BAD_REQUEST, f"{error}\n".encode())
                return
            sleep_until(arrived_ns + round(delay_ms * 1e6))
            self.answer(HTTPStatus.OK, body)
        else:
            self.answer(HTTPStatus.NOT_FOUND, b"only /delay and /healthz\n")

    def answer(self, status: HTTPStatus, body: bytes) -> None:
        """Send head and body."""
        self.send_response(status)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Say nothing: a line per request would cost time within the delay we promise."""


class DelayServer(ThreadingHTTPServer):
    """A thread per connection; those that are still asleep do not hold up the end."""

    daemon_threads = True
    request_queue_size = 128

    def server_bind(self) -> None:
        """Bind, without looking our own name up: where there is no DNS that takes seconds."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]


def bounded(text: str, most: float) -> float:
    """A number from 0 to ``most``. Raises ValueError otherwise."""
    number = float(text)
    if not (math.isfinite(number) and 0 <= number <= most):
        raise ValueError(f"{text} is not between 0 and {most:g}")
    return number


def sleep_until(deadline_ns: int) -> None:
    """Return at an instant of the monotonic clock, or at once where it has passed."""
    while (left_ns := deadline_ns - time.monotonic_ns()) > 0:
        time.sleep(left_ns / 1e9)


def default_host() -> str:
    """All interfaces within a container, whose network is its own; loopback elsewhere."""
    inside = os.path.exists("/.dockerenv") or os.path.exists("/run/.containerenv")
    return "0.0.0.0" if inside else "127.0.0.1"  # noqa: S104


def main(argv: list[str]) -> NoReturn:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(description="An HTTP service of controlled delay")
    parser.add_argument("--port", type=int, required=True, help="0: any free one")
    parser.add_argument("--host", default=default_host())
    options = parser.parse_args(argv)

    def end(_signal: int, _frame: FrameType | None) -> None:
        # As the first process of a container we would otherwise not be ended by these at all.
        raise SystemExit(0)

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    with DelayServer((options.host, options.port), DelayHandler) as server:
        print(f"listening on {options.host}:{server.server_address[1]}", flush=True)
        server.serve_forever()
    raise SystemExit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
