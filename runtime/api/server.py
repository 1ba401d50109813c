"""Serves the app with waitress, in threads of its own, until it is closed.

What waitress answers itself is JSON like all the rest. A body over the limit is refused when its
length is known, or when so much of it has come; what is left of it is not read.
"""

from __future__ import annotations

import threading
from typing import Any

import orjson
from flask import Flask
from waitress import wasyncore
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser
from waitress.server import create_server
from waitress.task import ErrorTask

from runtime.api.webhook import MOST_WAITING
from runtime.errors import InputError
from runtime.message import SIZE_LIMIT_BYTES

_THREADS = MOST_WAITING + 8
"""Calls that wait for a reply leave some to the others."""


class Server:
    """A running server; :attr:`url` is where it listens."""

    def __init__(self, app: Flask, *, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen. Raises InputError where that cannot be."""
        self._sockets: dict[int, Any] = {}
        try:
            server: Any = create_server(
                app,
                map=self._sockets,
                host=host,
                port=port,
                threads=_THREADS,
                # The limit itself is allowed, and waitress refuses what reaches its own.
                max_request_body_size=SIZE_LIMIT_BYTES + 1,
                ident="hopbench",
                clear_untrusted_proxy_headers=True,
            )
        except (OSError, ValueError) as error:
            wasyncore.close_all(self._sockets)
            raise InputError(
                f"nothing can listen there: {error}",
                where=f"{host}:{port}",
                remedy="Choose another --port, or an address of this machine as --bind",
            ) from error
        if not hasattr(server, "effective_port"):
            server.close()
            raise InputError(f"{host!r} is several addresses", remedy="Give one address as --bind")
        server.channel_class = _Channel
        self._server = server
        shown = f"[{host}]" if ":" in host else host
        self.url = f"http://{shown}:{server.effective_port}"
        self._is_closing = False
        self._thread = threading.Thread(target=self._run, name="HTTP")
        self._thread.start()

    def close(self) -> None:
        """Take no more requests, wait a little for those under way. Idempotent."""
        if self._is_closing:
            return
        self._is_closing = True
        self._server.pull_trigger()
        self._thread.join()
        self._server.task_dispatcher.shutdown()
        wasyncore.close_all(self._sockets)

    def _run(self) -> None:
        while not self._is_closing:
            wasyncore.loop(timeout=30.0, use_poll=True, map=self._sockets, count=1)


class _Parser(HTTPRequestParser):
    def received(self, data: bytes) -> int:
        consumed: int = super().received(data)
        if self.error is not None:
            # Who asks whether to go on is told no.
            self.expect_continue = False
        return consumed


class _JsonError(ErrorTask):
    def execute(self) -> None:
        error: Any = self.request.error  # type: ignore[attr-defined]  # the stubs lack it
        remedy = "Send less: 10 MiB is the limit" if error.code == 413 else ""
        document = {"error": error.reason, "where": "", "remedy": remedy, "problems": []}
        body = orjson.dumps(document)
        self.status = f"{error.code} {error.reason}"
        self.response_headers = [("Content-Type", "application/json")]
        self.set_close_on_finish()
        self.content_length = len(body)
        self.write(body)


class _Channel(HTTPChannel):
    parser_class = _Parser
    error_task_class = _JsonError
