"""The packets that pass the kernel's netem, as records of a journal: seen before it and behind it.

netem is a queueing discipline, and packet sockets see what leaves one. What goes into it is mirrored to a dummy
interface by the filter that runs just before (tc-mirred(8), clsact in net/sched/sch_ingress.c), and seen there.
"""

from __future__ import annotations

import socket
import struct
import subprocess
from collections import deque
from collections.abc import Iterator, Sequence
from select import select
from typing import NamedTuple

from shaper.core.connections import Connections
from shaper.journal import Clocks, Held, Record
from shaper.units import ms, s
from shaper.wire.packet import Packet

INTERFACE = "before"
SETUP = (
    f"ip link add {INTERFACE} arp off type dummy",
    f"ip link set {INTERFACE} addrgenmode none",  # it sends nothing of its own
    f"ip link set {INTERFACE} up",
    "tc qdisc add dev lo clsact",
    f"tc filter add dev lo egress matchall action mirred egress mirror dev {INTERFACE}",
)
ALL, IPV4, IPV6 = 0x0003, 0x0800, 0x86DD
"""ETH_P_ALL, ETH_P_IP and ETH_P_IPV6 of linux/if_ether.h."""
SO_TIMESTAMPNS, SO_RCVBUFFORCE, SOL_PACKET, PACKET_STATISTICS = 35, 33, 263, 6
BUFFER = 64 << 20
"""Bytes of packets that wait until the trial is over, where root allows so many."""
PATIENCE = 50 * ms
"""How much longer than any packet so far the next one may take (ns) before it counts as lost."""
NAME = "netem"
"""Stands for the policy in the records."""


class Sight(NamedTuple):
    """A packet, when it was seen (ns), and whether that was behind netem."""

    raw: bytes
    at: int
    behind: bool


class Mirror:
    """Sees the packets of lo before and behind its netem, from now on.

    Raises:
        OSError: this kernel can't mirror packets, or this user may not.
    """

    def __init__(self) -> None:
        for command in SETUP:
            if subprocess.run(command.split(), capture_output=True, check=False).returncode:
                raise OSError(f"{command} failed")
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ALL))
        self._socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER)
        except PermissionError:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        clocks = Clocks.now()
        self._ahead = clocks.realtime - clocks.monotonic

    def records(self) -> tuple[Record, ...]:
        """What netem did to each packet so far, once it holds none any more; see `records_of`.

        If the socket has lost packets, there are none: the others would be wrong.
        """
        seen = list(self._seen())
        if struct.unpack("II", self._socket.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))[1]:
            return ()
        return records_of(seen)

    def _seen(self) -> Iterator[Sight]:
        inside: dict[bytes, deque[int]] = {}
        longest = 0
        while select([self._socket], [], [], (longest + PATIENCE) / s if any(inside.values()) else 0)[0]:
            raw, ancillary, _, (interface, protocol, kind, *_) = self._socket.recvmsg(1 << 16, socket.CMSG_SPACE(16))
            if protocol not in (IPV4, IPV6):
                continue
            seconds, nanoseconds = struct.unpack("qq", ancillary[0][2])
            at = seconds * s + nanoseconds - self._ahead
            if interface == INTERFACE:
                inside.setdefault(raw, deque()).append(at)
                yield Sight(raw, at, behind=False)
            elif kind == socket.PACKET_HOST:
                if inside.get(raw):
                    longest = max(longest, at - inside[raw].popleft())
                yield Sight(raw, at, behind=True)


def records_of(seen: Sequence[Sight]) -> tuple[Record, ...]:
    """What netem did to each packet, in the order of their delivery.

    A packet that it dropped has no hold, nor has one that it corrupted. Copies that it made are left out.
    """
    delivered: dict[bytes, deque[int]] = {}
    for sight in seen:
        if sight.behind:
            delivered.setdefault(sight.raw, deque()).append(sight.at)
    connections = Connections()
    found: list[Record] = []
    for sight in seen:
        if not sight.behind:
            packet = Packet(sight.raw, len(found) + 1, sight.at)
            connections.classify(packet, sight.at)
            times = delivered.get(sight.raw)
            found.append(_record(packet, times.popleft() if times else None))
    return tuple(sorted(found, key=lambda record: record.begin))


def _record(packet: Packet, delivered: int | None) -> Record:
    """The record of a packet, delivered then (ns); None if it wasn't."""
    tcp, at = packet.tcp, packet.arrived
    begin = at if delivered is None else delivered
    return Record(
        packet.id,
        packet.flow,
        packet.kind,
        "" if tcp is None else tcp.flag_names,
        None if tcp is None else tcp.seq,
        None if tcp is None else tcp.ack,
        packet.length,
        arrived=at,
        taken=at,
        fate="dropped" if delivered is None else "sent",
        planned=begin,
        begin=begin,
        end=begin,
        tid=0,
        held=() if delivered is None else (Held(NAME, begin - at),),
        by=NAME if delivered is None else "",
    )
