"""What a service tells systemd of itself, see sd_notify(3): a datagram to the socket in NOTIFY_SOCKET."""

from __future__ import annotations

import os
import socket
from contextlib import suppress

from shaper.units import us


def notify(*assignments: str) -> None:
    """Tell systemd, such as "READY=1"; without effect where it doesn't ask."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if path[:1] not in ("/", "@"):
        return
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        sender.sendto("\n".join(assignments).encode(), path.replace("@", "\0", 1) if path[0] == "@" else path)


def watchdog_interval() -> int | None:
    """How often (ns) to tell it "WATCHDOG=1", half of the time after which it acts; None if it doesn't ask for it."""
    text = os.environ.get("WATCHDOG_USEC", "")
    if not text.isdecimal() or os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    return int(text) * us // 2
