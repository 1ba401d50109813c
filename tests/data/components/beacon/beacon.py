"""Passes messages on, and says on the network, by a datagram each, when it is entered and emits.

Whoever captures the network's packets sees with them where a component's time begins and ends.
``cfg``: ``to`` (an address, or "gateway" for the network's), ``port`` and ``step``.
"""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

_SOCKET = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)


def init(cfg: dict[str, Any]) -> None:
    """Find out where to send to; what follows is one system call a datagram."""
    host = _gateway() if cfg["to"] == "gateway" else cfg["to"]
    _SOCKET.connect((host, cfg["port"]))


def process(
    msg: dict[str, Any], cfg: dict[str, Any], snapshot: dict[str, Any], context: Any
) -> None:
    """Say "entry" first and "emit" last; the message's sequence is its execution's number."""
    place = f"{cfg['step']} {msg['body']['sequence']}"
    _SOCKET.send(f"hopbench entry {place}".encode())
    emit = f"hopbench emit {place}".encode()
    _SOCKET.send(emit)
    context.emit("data", {"body": msg["body"]})


def _gateway() -> str:
    """The default route's gateway, as the kernel writes it: hexadecimal, in the host's order."""
    for line in Path("/proc/net/route").read_text(encoding="ascii").splitlines()[1:]:
        _, destination, gateway, *_ = line.split()
        if destination == "00000000":
            return socket.inet_ntoa(int(gateway, 16).to_bytes(4, "little"))
    raise OSError("there is no default route")
