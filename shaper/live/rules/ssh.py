"""Established connections of ssh servers, which no rule of ours may touch.

The sockets are looked at, not SSH_CONNECTION, since sudo and tmux hide that.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import suppress

from shaper.linux import proc
from shaper.linux.sockets import ESTABLISHED, SocketEntry, Table, sockets
from shaper.live.rules.iptables import Family

TABLES: tuple[Table, ...] = ("tcp", "tcp6")


def exceptions(ports: Collection[int], family: Family) -> Iterator[str]:
    """What matches these connections in iptables' terms, both directions, except where `ports` has their port."""
    version = 4 if family == "ipv4" else 6
    for local, local_port, remote, remote_port, *_ in connections():
        if local.version == version and local_port not in ports:
            yield f" -s {remote} -d {local} -p tcp -m tcp --sport {remote_port} --dport {local_port}"
            yield f" -s {local} -d {remote} -p tcp -m tcp --sport {local_port} --dport {remote_port}"


def connections() -> list[SocketEntry]:
    """The established connections of all ssh servers in this network namespace that this process may look into."""
    inodes = set(_server_sockets())
    if not inodes:
        return []
    found: list[SocketEntry] = []
    for table in TABLES:
        with suppress(OSError):  # a kernel without IPv6
            found += [end for end in sockets(table) if end.state == ESTABLISHED and end.inode in inodes]
    return found


def _server_sockets() -> Iterator[int]:
    """The inodes of the sockets of all ssh servers."""
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        with suppress(OSError):  # it has ended meanwhile, or is not ours to look into
            # OpenSSH calls its processes sshd, and since 9.8 also sshd-session and sshd-auth.
            if not proc.comm(int(pid), int(pid)).startswith("sshd"):
                continue
            for descriptor in os.listdir(f"/proc/{pid}/fd"):
                target = os.readlink(f"/proc/{pid}/fd/{descriptor}")
                if target.startswith("socket:["):
                    yield int(target.removeprefix("socket:[").rstrip("]"))
