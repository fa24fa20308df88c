"""Words that say which packets are shaped, in profiles, options and rules."""

from __future__ import annotations

import re
import socket
from typing import Literal, get_args

Hook = Literal["input", "output", "forward"]
"""Packets that come into this machine, leave it, or are forwarded by it."""
HOOKS: tuple[Hook, ...] = get_args(Hook)

ANY = "any"
"""Stands for all interfaces."""
# iptables takes a "+" at the end for the beginning of any name; see dev_valid_name() in net/core/dev.c for the rest.
INTERFACE = re.compile(r"[^\s/:+\"'\\]{1,15}")

Protocol = Literal["tcp", "udp", "icmp", "all"]
"""icmp includes ICMPv6."""


def parse_interfaces(text: str) -> list[str]:
    """The names in "eth0,eth1", or in "any".

    Raises:
        ValueError: not a name that an interface may have.
    """
    names = [part.strip() for part in text.split(",")]
    for name in names:
        if not INTERFACE.fullmatch(name):
            raise ValueError(f"'{name}' is not the name of an interface, such as eth0")
    return names


def parse_hooks(text: str) -> list[Hook]:
    """The hooks in "input,output".

    Raises:
        ValueError: not hooks.
    """
    found: list[Hook] = []
    for part in text.split(","):
        hook = next((hook for hook in HOOKS if hook == part.strip()), None)
        if hook is None:
            raise ValueError(f"'{part.strip()}' is none of {', '.join(HOOKS)}")
        found.append(hook)
    return found


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
