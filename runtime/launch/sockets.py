"""Reads the kernel's TCP tables: which remote ends a container or process is connected to."""

from __future__ import annotations

import ipaddress
import struct
import sys

_ESTABLISHED = "01"


def established(table: str) -> tuple[tuple[str, int], ...]:
    """Remote ends of the established connections in the text of ``/proc/PID/net/tcp`` or ``tcp6``.

    Addresses are printed there as 32-bit words of the host's byte order (Linux
    Documentation/networking/proc_net_tcp.rst). An IPv4 address mapped into IPv6 is given as IPv4.
    """
    ends: list[tuple[str, int]] = []
    for line in table.splitlines():
        fields = line.split()
        if len(fields) > 3 and fields[3] == _ESTABLISHED:
            address, _, port = fields[2].partition(":")
            ends.append((_address(address), int(port, 16)))
    return tuple(ends)


def _address(text: str) -> str:
    """An address of 8 or 32 hexadecimal digits as people write it."""
    count = len(text) // 8
    words = struct.unpack(f">{count}I", bytes.fromhex(text))
    order = "<" if sys.byteorder == "little" else ">"
    address = ipaddress.ip_address(struct.pack(f"{order}{count}I", *words))
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return str(address)
