"""Packets that policies made: sent through raw sockets, with a mark, so that they are not queued again.

Such a packet takes the machine's way out and, if it is for this machine, in again; the rules let it pass because of
its mark (see rules.py). NAT translates it on this way. So it is sent as the packets of its connection were before NAT
(see conntrack.py), and becomes what they became.

Source: net/ipv4/raw.c, net/ipv6/raw.c; for IPv4, __mkroute_output() in net/ipv4/route.c.
"""

from __future__ import annotations

import errno
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from random import randrange
from typing import Final

from shaper.errors import ShaperError
from shaper.linux.capabilities import CAP_NET_RAW, remedy
from shaper.live.conntrack import Conntrack
from shaper.live.rules.rules import INJECT_MARK, Match
from shaper.spec.match import Hook
from shaper.units import s
from shaper.wire.checksum import completed
from shaper.wire.fragment import fragments
from shaper.wire.packet import Packet

# linux/in.h, linux/in6.h
IP_PKTINFO, IP_RECVERR, IPV6_RECVERR = 8, 11, 25

REMEMBERED: Final = 1 * s
"""How long (ns) is remembered which addresses are this machine's own, and the interface's index."""

_error = struct.Struct("=IBBBBII")  # struct sock_extended_err, see ip(7)

Ancillary = list[tuple[int, int, bytes]]


class Injector:
    """Sends packets as they are, from the IP header on. Needs CAP_NET_RAW at first, and CAP_NET_ADMIN.

    Args:
        match: where the packets come from that policies copy.

    Attributes:
        failed: packets that the kernel refused.

    Raises:
        ShaperError: this process may not open a raw socket, see raw(7).
    """

    def __init__(self, match: Match) -> None:
        self.failed = 0
        # The hook that all packets come from; None if there are several, so that addresses decide.
        self._hook = match.passed_hooks[0] if len(match.passed_hooks) == 1 else None
        self._name = match.interfaces[0] if len(match.interfaces) == 1 else ""
        self._interface = self._index()
        self._loopback = socket.if_nametoindex("lo")
        self._is_looped = match.interfaces == ("lo",)
        self._conntrack = Conntrack()
        self._ours: dict[bytes, bool] = {}
        self._since = 0
        self._identification = randrange(0xFFFF)
        # Protocol IPPROTO_RAW: the header is the sender's, see raw(7); for IPv6 see RFC 3542, section 3.
        try:
            self._sockets = {
                version: socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW)
                for version, family in ((4, socket.AF_INET), (6, socket.AF_INET6))
            }
        except PermissionError:
            raise ShaperError(
                f"no permission to send the packets that policies make; {remedy(CAP_NET_RAW)}, or use `shaper run`"
            ) from None
        for raw in self._sockets.values():
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, INJECT_MARK)
            raw.setblocking(False)
        self._set_options()

    def _index(self) -> int:
        """The interface's; 0, which stands for any, for several, or where the rules are not ours and it isn't there."""
        with suppress(OSError):
            return socket.if_nametoindex(self._name)
        return 0

    def _look_again(self) -> None:
        """Forget which addresses are ours after a while, and follow an interface that is deleted and made again."""
        now = time.monotonic_ns()
        if now - self._since > REMEMBERED:
            self._since = now
            self._ours.clear()
            before, self._interface = self._interface, self._index()
            if self._interface != before:
                self._set_options()

    def _set_options(self) -> None:
        v4, v6 = self._sockets[4], self._sockets[6]
        # An error for a packet that is too large then says how large one may be.
        v4.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
        v6.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVERR, 1)
        # Broadcasts that came in must not go out again: without this they are refused, and sent to lo.
        v4.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, self._hook in ("output", "forward"))
        if self._hook != "forward":
            v4.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, struct.pack("=8xi", self._interface))
            v6.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, self._interface)

    def send(self, packet: Packet) -> None:
        """Send the packet to its destination; if the kernel refuses it, it is counted in `failed`."""
        version = packet.ip.version
        if version not in self._sockets:
            self.failed += 1
            return
        self._look_again()
        whole = completed(packet.raw)
        raw = self._conntrack.first_form(whole)
        source, destination = _ends(raw)
        hook = self._hook or self._hook_of(*_ends(whole))
        try:
            if self._is_looped or hook == "forward":
                self._deliver(raw, version, destination)
            elif hook == "output":
                # What a policy sends back to the sender of a packet is for this machine.
                way = [] if self._is_ours(destination) else self._way_out(source)
                with self._broadcasting() if self._hook is None else nullcontext():
                    self._deliver(raw, version, destination, way)
            elif _is_multicast(destination):
                self._deliver(_without_hops(raw), version, destination)
            else:
                self._deliver_here(raw, version, destination)
        except OSError:
            self.failed += 1

    def _hook_of(self, source: bytes, destination: bytes) -> Hook:
        """Where a packet with these addresses was taken, where that may have been several hooks.

        One that was forwarded counts as one that came in: its way is the same, as long as it has one.
        """
        return "output" if self._is_ours(source) and not self._is_ours(destination) else "input"

    def _way_out(self, source: bytes) -> Ancillary:
        """What makes the kernel send a packet through the interface, or, of several, through that of its source."""
        if len(source) == 4:
            return _way(4, self._interface, source)
        index = self._interface or _indices().get(source, 0)
        return _way(6, index) if index else []

    def _deliver_here(self, raw: bytes, version: int, destination: bytes) -> None:
        """Send what came in from outside to this machine itself."""
        try:
            self._deliver(raw, version, destination)
        except OSError as error:
            # A broadcast, for want of SO_BROADCAST, or an address that only NAT knows. What is sent to lo, whatever
            # its destination is, comes in again.
            if version == 6 or error.errno not in (errno.EACCES, errno.ENETUNREACH, errno.EHOSTUNREACH):
                raise
            with self._broadcasting():
                self._deliver(raw, version, destination, _way(version, self._loopback))

    @contextmanager
    def _broadcasting(self) -> Iterator[None]:
        sender = self._sockets[4]
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        try:
            yield
        finally:
            sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 0)

    def _deliver(self, raw: bytes, version: int, destination: bytes, way: Ancillary | None = None) -> None:
        """Send it, in fragments if it is too large for its way.

        Raises:
            OSError: the kernel refuses it.
        """
        sender = self._sockets[version]
        host = socket.inet_ntop(sender.family, destination)
        address: tuple[str, int] | tuple[str, int, int, int] = (host, 0)
        if version == 6:
            # The interface is only used for addresses that need one, such as link-local ones.
            address = (host, 0, 0, self._interface or _scope(raw[8:24], destination))
        try:
            sender.sendmsg([raw], way or [], 0, address)
        except OSError as error:
            if error.errno != errno.EMSGSIZE:
                raise
            self._identification = self._identification % 0xFFFF + 1
            for piece in fragments(raw, _mtu(sender), self._identification):
                sender.sendmsg([piece], way or [], 0, address)

    def _is_ours(self, address: bytes) -> bool:
        """Whether it is an address of this machine."""
        known = self._ours.get(address)
        if known is None:
            known = self._ours[address] = _is_ours(address)
        return known

    def close(self) -> None:
        """Give the sockets up."""
        self._conntrack.close()
        for raw in self._sockets.values():
            raw.close()


def _is_multicast(address: bytes) -> bool:
    return address[0] & 0xF0 == 0xE0 if len(address) == 4 else address[0] == 0xFF


def _without_hops(raw: bytes) -> bytes:
    """The packet with no hops left: a multicast that is delivered on this machine and doesn't leave it."""
    at = 8 if raw[0] >> 4 == 4 else 7
    return raw[:at] + b"\0" + raw[at + 1 :]


def _way(version: int, interface: int, source: bytes | None = None) -> Ancillary:
    """What makes the kernel send a packet through an interface; for IPv4, by the route for this source address."""
    if version == 4:
        return [(socket.IPPROTO_IP, IP_PKTINFO, struct.pack("=i4s4x", interface, source or b""))]
    # With a source the kernel would not insist on the interface, see ip6_route_output_flags().
    return [(socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, struct.pack("=16xi", interface))]


def _mtu(sender: socket.socket) -> int:
    """How large the packet might have been that was just refused as too large, see ip(7), IP_RECVERR.

    Raises:
        OSError: the kernel does not say.
    """
    _, ancillary, _, _ = sender.recvmsg(0, socket.CMSG_SPACE(64), socket.MSG_ERRQUEUE)
    mtu: int = _error.unpack_from(ancillary[0][2])[5]
    return mtu


def _ends(raw: bytes) -> tuple[bytes, bytes]:
    """The source and the destination."""
    return (raw[12:16], raw[16:20]) if raw[0] >> 4 == 4 else (raw[8:24], raw[24:40])


def _is_link_local(address: bytes) -> bool:
    return len(address) == 16 and address[0] == 0xFE and address[1] & 0xC0 == 0x80


def _scope(source: bytes, destination: bytes) -> int:
    """The index of the interface that a packet between link-local addresses, or to many, passes; 0 if it has none."""
    if not _is_link_local(destination) and not _is_multicast(destination):
        return 0
    indices = _indices()
    return indices.get(destination) or indices.get(source, 0)


def _indices() -> dict[bytes, int]:
    """The IPv6 addresses of this machine, each with the index of its interface."""
    with suppress(OSError):  # there is no IPv6 here
        rows = [line.split() for line in Path("/proc/self/net/if_inet6").read_text().splitlines()]
        return {bytes.fromhex(row[0]): int(row[1], 16) for row in rows}
    return {}


def _is_ours(address: bytes) -> bool:
    if _is_link_local(address):
        return address in _indices()
    family = socket.AF_INET if len(address) == 4 else socket.AF_INET6
    host = socket.inet_ntop(family, address)
    with socket.socket(family, socket.SOCK_DGRAM) as tried:
        try:
            # Broadcast and multicast addresses can be bound too.
            tried.bind((host, 0))
            tried.connect((host, 9))
        except OSError:
            return False
    return not _is_multicast(address)
