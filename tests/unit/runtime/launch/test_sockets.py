"""The kernel's TCP tables, read from text."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest

from runtime.launch.sockets import established

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n"


@pytest.mark.skipif(sys.byteorder != "little", reason="the sample is a little-endian host's")
def test_only_established_remote_ends_are_listed() -> None:
    """Listening and closing sockets are left out; addresses are in their usual notation."""
    table = HEAD + (
        "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0\n"
        "   1: 020012AC:8A1C 030012AC:1628 01 00000000:00000000 00:00000000 00000000     0\n"
        "   2: 020012AC:8A1D 030012AC:1628 06 00000000:00000000 00:00000000 00000000     0\n"
    )
    assert established(table) == (("172.18.0.3", 5672),)


@pytest.mark.skipif(sys.byteorder != "little", reason="the sample is a little-endian host's")
def test_mapped_addresses_are_given_as_ipv4() -> None:
    """An IPv4 connection of an IPv6 socket is the same connection; real IPv6 stays IPv6."""
    mapped = "0000000000000000FFFF0000030012AC"
    table = HEAD + (
        f"   0: {mapped}:8A1C {mapped}:1628 01 00000000:00000000 00:00000000 00000000     0\n"
        f"   1: {'0' * 24}01000000:8A1C {'0' * 24}01000000:0050 01 00000000:00000000 00:0\n"
    )
    assert established(table) == (("172.18.0.3", 5672), ("::1", 80))


@pytest.mark.skipif(not Path("/proc/self/net/tcp").exists(), reason="needs Linux's /proc")
def test_a_real_connection_is_found() -> None:
    """A connection of this very process is in the table that this kernel writes."""
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as client,
    ):
        table = Path(f"/proc/{os.getpid()}/net/tcp").read_text()
        assert ("127.0.0.1", server.getsockname()[1]) in established(table)
        assert client.getpeername() == server.getsockname()


def test_empty_table() -> None:
    """A table with a heading only has no connections."""
    assert established(HEAD) == ()
