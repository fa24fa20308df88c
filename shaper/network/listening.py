"""Which ports of this process's network somebody can be reached at, see proc_net_tcp.rst of the kernel."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

Protocol = Literal["tcp", "udp"]
LISTENS = {"tcp": "0A", "udp": "07"}
"""The states TCP_LISTEN and TCP_CLOSE, as in include/net/tcp_states.h: a UDP socket that isn't connected is closed."""


def ports(protocol: Protocol) -> set[int]:
    """The ports at which a TCP socket listens, or to which a UDP socket is bound, by IPv4 or IPv6."""
    found: set[int] = set()
    for path in (Path("/proc/self/net", protocol + family) for family in ("", "6")):
        rows = path.read_text().splitlines()[1:] if path.exists() else []
        for row in rows:
            _, local, _, state, *_ = row.split()
            if state == LISTENS[protocol]:
                found.add(int(local.rpartition(":")[2], 16))
    return found
