"""Words that say which packets are shaped, in profiles, options and rules."""

from __future__ import annotations

import socket
from typing import Literal

Hook = Literal["input", "output", "forward"]
"""Packets that come into this machine, leave it, or are forwarded by it."""

Protocol = Literal["tcp", "udp", "icmp", "all"]
"""icmp includes ICMPv6."""


def parse_ports(text: str) -> list[int]:
    """The ports in "80,443" or "http,https"; a name is one of getservbyname(3), from /etc/services.

    Raises:
        ValueError: not a port.
    """
    return [_port(part.strip()) for part in text.split(",")]


def _port(text: str) -> int:
    if text.isascii() and text.isdigit():
        if not 0 < int(text) < 65536:
            raise ValueError(f"{text} is not a port; ports are 1 to 65535")
        return int(text)
    try:
        return socket.getservbyname(text)
    except OSError:
        raise ValueError(f"'{text}' is not a port; write a number, such as 80, or a name of /etc/services") from None
