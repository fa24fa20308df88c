"""The sockets of a network namespace, as /proc/net lists them, see proc(5)."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Literal, NamedTuple

Table = Literal["tcp", "tcp6", "udp", "udp6"]

# net/tcp_states.h
ESTABLISHED, CLOSED, LISTENING = 1, 7, 10


class SocketEntry(NamedTuple):
    """One socket. An IPv4 address that an IPv6 socket uses is given as such.

    Attributes:
        local, local_port: its own end.
        remote, remote_port: its peer's; port 0 if it has none.
        state: a number, see net/tcp_states.h; UDP has the same ones.
        inode: as in the link `socket:[INODE]` of a descriptor.
    """

    local: IPv4Address | IPv6Address
    local_port: int
    remote: IPv4Address | IPv6Address
    remote_port: int
    state: int
    inode: int


def sockets(table: Table, pid: int | str = "thread-self") -> Iterator[SocketEntry]:
    """The sockets of the network namespace that a process is in, or else this thread.

    Raises:
        OSError: there is no such process, or the kernel has no such table: it lacks IPv6.
    """
    with open(f"/proc/{pid}/net/{table}") as file:
        next(file)
        for row in file:
            _, local, remote, state, *rest = row.split()
            yield SocketEntry(*_end(local), *_end(remote), int(state, 16), int(rest[5]))


def _end(text: str) -> tuple[IPv4Address | IPv6Address, int]:
    """An address, in 32-bit words of the machine's own byte order, and a port."""
    words, port = text.split(":")
    parts = (int(words[place : place + 8], 16).to_bytes(4, sys.byteorder) for place in range(0, len(words), 8))
    address = ip_address(b"".join(parts))
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address, int(port, 16)
