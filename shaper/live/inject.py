"""Packets that policies made: sent through raw sockets, with a mark, so that they are not queued again.

Such a packet takes the machine's way out and, if it is for this machine, in again; the rules let it pass because of
its mark (see rules.py).
"""

from __future__ import annotations

import socket

from shaper.live.rules.rules import INJECT_MARK
from shaper.wire.packet import Packet


class Injector:
    """Sends packets as they are, from the IP header on. Needs CAP_NET_RAW and CAP_NET_ADMIN.

    Attributes:
        failed: packets that the kernel refused.

    Raises:
        PermissionError: see raw(7).
    """

    def __init__(self) -> None:
        self.failed = 0
        # Protocol IPPROTO_RAW: the header is the sender's, see raw(7); for IPv6 see RFC 3542, section 3.
        self._sockets = {
            version: socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW)
            for version, family in ((4, socket.AF_INET), (6, socket.AF_INET6))
        }
        for raw in self._sockets.values():
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, INJECT_MARK)
            raw.setblocking(False)

    def send(self, packet: Packet) -> None:
        """Send the packet to its destination; if the kernel refuses it, it is counted in `failed`."""
        ip = packet.ip
        raw = self._sockets.get(ip.version)
        if raw is None:
            self.failed += 1
            return
        try:
            raw.sendto(packet.raw, (socket.inet_ntop(raw.family, ip.destination), 0))
        except OSError:
            self.failed += 1

    def close(self) -> None:
        """Give the sockets up."""
        for raw in self._sockets.values():
            raw.close()
