"""A TCP proxy that holds back every byte by a known time, in both directions.

A script of its own that imports nothing of hopbench, so that it can stand in any image::

    proxy.py LISTEN_ADDRESS UPSTREAM_HOST UPSTREAM_PORT DELAY_MS SPOOL_FOLDER

It listens on a port of its own, writes ``ready.json`` (``{"port": 40123}``) into its spool folder
and forwards until SIGTERM. A byte leaves DELAY_MS after it came, and what the proxy itself adds, in
the order of arrival. What it adds does not depend on the delay, so that a delay of 0 through the
same proxy shows it: two more sockets, one waking, and a hold of 0.5 ms. Without the hold, bytes
that are not delayed would be sent by a process that has just woken, and the others by one that is
wide awake, 0.1 to 0.3 ms faster. One thread a direction both waits for bytes and sends those that
are due: a second thread would have to be woken, which costs most where the delay is 0.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sys
import threading
import time
from collections import deque
from types import FrameType

SPUN_S = 0.0003
"""The end of a wait is spun: a sleep alone ends about 60 us late, on a busy machine later."""
HELD_NS = 500_000
CHUNK_BYTES = 1 << 16
CONNECT_TIMEOUT_S = 10.0


def forward(source: socket.socket, sink: socket.socket, delay_ns: int) -> None:
    """Pass on what comes from ``source`` until it ends; then let ``sink`` know."""
    held: deque[tuple[int, bytes]] = deque()
    open_ = True
    try:
        while open_ or held:
            wait_s = None
            if held:
                wait_s = max(0.0, (held[0][0] - time.monotonic_ns()) / 1e9 - SPUN_S)
            if open_:
                if select.select([source], [], [], wait_s)[0]:
                    data = source.recv(CHUNK_BYTES)
                    held.append((time.monotonic_ns() + delay_ns, data))
                    open_ = bool(data)
            else:
                time.sleep(wait_s or 0.0)
            while held and time.monotonic_ns() >= held[0][0]:
                data = held.popleft()[1]
                if data:
                    sink.sendall(data)
                else:
                    sink.shutdown(socket.SHUT_WR)
    except OSError:
        # One side has reset the connection: the other side is told, as it would be without us.
        for each in (source, sink):
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue


def serve(client: socket.socket, upstream: tuple[str, int], delay_ns: int) -> None:
    """Forward one connection in both directions until both have ended."""
    with client:
        try:
            server = socket.create_connection(upstream, timeout=CONNECT_TIMEOUT_S)
        except OSError as error:
            print(f"cannot reach {upstream[0]}:{upstream[1]}: {error}", file=sys.stderr, flush=True)
            return
        with server:
            server.settimeout(None)
            for each in (client, server):
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            back = threading.Thread(target=forward, args=(server, client, delay_ns), daemon=True)
            back.start()
            forward(client, server, delay_ns)
            back.join()


def main() -> int:
    """Listen, say where, forward until SIGTERM."""
    address, host, port, delay_ms, spool = sys.argv[1:]

    def stop(_signal: int, _frame: FrameType | None) -> None:
        # Threads that wait for a peer must not keep it from ending.
        os._exit(0)

    signal.signal(signal.SIGTERM, stop)
    delay_ns = HELD_NS + round(float(delay_ms) * 1e6)
    with socket.create_server((address, 0)) as listener:
        path = os.path.join(spool, "ready.json")
        with open(f"{path}.part", "w", encoding="ascii") as file:
            json.dump({"port": listener.getsockname()[1]}, file)
        os.rename(f"{path}.part", path)
        while True:
            client, _ = listener.accept()
            threading.Thread(
                target=serve, args=(client, (host, int(port)), delay_ns), daemon=True
            ).start()


if __name__ == "__main__":
    sys.exit(main())
