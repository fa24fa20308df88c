"""At which ports of this process's network a server can be reached."""

from __future__ import annotations

from contextlib import suppress
from typing import Literal, get_args

from shaper.linux.sockets import CLOSED, LISTENING, Table, sockets

Protocol = Literal["tcp", "udp"]


def ports(protocol: Protocol) -> set[int]:
    """The ports at which a TCP socket listens, or to which a UDP socket is bound, by IPv4 or IPv6."""
    state = LISTENING if protocol == "tcp" else CLOSED  # as is a UDP socket that is not connected
    found: set[int] = set()
    for table in get_args(Table):
        if table.startswith(protocol):
            with suppress(OSError):  # there is no IPv6 here
                found.update(entry.local_port for entry in sockets(table) if entry.state == state)
    return found
