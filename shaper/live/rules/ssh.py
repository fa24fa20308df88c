"""Established connections of ssh servers, which no rule of ours may touch.

The sockets are looked at, not SSH_CONNECTION, since sudo and tmux hide that.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import NamedTuple

from shaper.live.rules.iptables import Family

# TCP_ESTABLISHED, net/tcp_states.h
ESTABLISHED = "01"


class Socket(NamedTuple):
    """One end of an established TCP connection."""

    local: IPv4Address | IPv6Address
    local_port: int
    remote: IPv4Address | IPv6Address
    remote_port: int


def exceptions(ports: Collection[int], family: Family) -> Iterator[str]:
    """What matches these connections, both directions, but for those whose port was asked for."""
    version = 4 if family == "ipv4" else 6
    for local, local_port, remote, remote_port in connections():
        if local.version == version and local_port not in ports:
            yield f" -s {remote} -d {local} -p tcp -m tcp --sport {remote_port} --dport {local_port}"
            yield f" -s {local} -d {remote} -p tcp -m tcp --sport {local_port} --dport {remote_port}"


def connections() -> list[Socket]:
    """The established connections of all ssh servers in this network namespace that this process can see into."""
    inodes = set(_server_sockets())
    return [connection for connection, inode in _established() if inode in inodes] if inodes else []


def _server_sockets() -> Iterator[str]:
    """The inodes of the sockets of all ssh servers."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            # OpenSSH calls its processes sshd, and since 9.8 also sshd-session and sshd-auth.
            if not (process / "comm").read_text().startswith("sshd"):
                continue
            for descriptor in (process / "fd").iterdir():
                target = os.readlink(descriptor)
                if target.startswith("socket:["):
                    yield target.removeprefix("socket:[").rstrip("]")
        except OSError:
            continue  # it has ended meanwhile, or is not ours to look into


def _established() -> Iterator[tuple[Socket, str]]:
    """The established TCP connections of this network namespace, each with the inode of its socket."""
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            rows = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue  # a kernel without IPv6
        for row in rows:
            _, local, remote, state, *rest = row.split()
            if state == ESTABLISHED:
                yield Socket(*_end(local), *_end(remote)), rest[5]


def _end(text: str) -> tuple[IPv4Address | IPv6Address, int]:
    """An address and port as /proc/net/tcp prints them: 32-bit words in the machine's own order."""
    words, port = text.split(":")
    parts = (int(words[place : place + 8], 16).to_bytes(4, sys.byteorder) for place in range(0, len(words), 8))
    address = ip_address(b"".join(parts))
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address, int(port, 16)
