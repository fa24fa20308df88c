"""Asks the kernel's connection tracking how a packet looked before NAT translated it.

Source: linux/netfilter/nfnetlink_conntrack.h; net/netfilter/nf_conntrack_netlink.c and nf_nat_core.c.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import suppress
from struct import Struct
from typing import Final, NamedTuple

from shaper.live.nfqueue.netlink import ATTRIBUTE, HEADERS, attribute, errors_in
from shaper.units import s
from shaper.wire.header import ICMP, ICMPV6, WITH_PORTS
from shaper.wire.translate import QUERIES, ConnTuple, readdressed

COUNT: Final = "/proc/sys/net/netfilter/nf_conntrack_count"
"""How many connections are tracked in this network namespace; it isn't there where the kernel tracks none."""

NETLINK_NETFILTER = 12
NLMSG_ERROR, NLMSG_DONE = 2, 3
NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_NEW, IPCTNL_MSG_CT_GET = 1, 0, 1
NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP = 1, 4, 0x300
SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, NFNLGRP_CONNTRACK_NEW = 270, 1, 1

NESTED = 0x8000  # NLA_F_NESTED
CTA_TUPLE_ORIG, CTA_TUPLE_REPLY, CTA_STATUS, CTA_STATUS_MASK = 1, 2, 3, 26
CTA_MARK, CTA_MARK_MASK = 8, 21
CTA_TUPLE_IP, CTA_TUPLE_PROTO = 1, 2
CTA_IP_SRC, CTA_IP_DST = {4: 1, 16: 3}, {4: 2, 16: 4}  # by the length of an address
CTA_PROTO_NUM, CTA_PROTO_SRC_PORT, CTA_PROTO_DST_PORT = 1, 2, 3
CTA_PROTO_ID = {ICMP: 4, ICMPV6: 7}  # followed by the type and the code
TRANSLATED_TWICE = 1 << 4 | 1 << 5  # IPS_SRC_NAT and IPS_DST_NAT

REMEMBERED: Final = 1 * s
"""How long (ns) an answer is remembered; no port is used for another connection that soon."""
MOST: Final = 1 << 16
"""The most connections remembered."""
ROOM = 1 << 16
"""The longest message read, in bytes."""

SO_ATTACH_FILTER = 26  # asm-generic/socket.h
FILTER = b"".join(
    struct.pack("=HBBI", *instruction)
    for instruction in (
        (0x00, 0, 0, HEADERS),  # ld #HEADERS
        (0x01, 0, 0, CTA_STATUS),  # ldx #CTA_STATUS
        (0x20, 0, 0, 0xFFFF_F000 + 12),  # ld [SKF_AD_OFF + SKF_AD_NLATTR]: where this attribute is, or 0
        (0x07, 0, 0, 0),  # tax
        (0x40, 0, 0, ATTRIBUTE.size),  # ld [x + 4]
        (0x54, 0, 0, TRANSLATED_TWICE),  # and
        (0x15, 0, 1, TRANSLATED_TWICE),  # jeq
        (0x06, 0, 0, 0xFFFF_FFFF),  # ret all of the message
        (0x06, 0, 0, 0),  # ret nothing
    )
)
"""Reports of connections of which both ends are translated pass this socket filter, others don't; see bpf(4),
Documentation/networking/filter.rst, "nla"."""

_header = Struct("=IHHIIBBH")  # length, type, flags, sequence, port; address family, version, resource

Pair = tuple[ConnTuple, ConnTuple]
"""The two tuples of a connection: of the packets from the one who opened it, and of their answers, before NAT."""


class Conntrack:
    """The connections that the kernel tracks in this network namespace. Asking needs CAP_NET_ADMIN.

    A packet is translated in two steps: its destination before the INPUT and FORWARD hooks of the mangle table, its
    source behind them; on lo, both. So what a packet at a hook looked like at first depends on the hook, but not the
    way to find out.
    """

    def __init__(self) -> None:
        self._socket = _netlink()
        self._remembered: dict[ConnTuple, ConnTuple] = {}
        self._since = 0
        self._count: int | None = None  # the descriptor of COUNT
        self._halfway = Halfway()

    def first_form(self, raw: bytes) -> bytes:
        """The packet as it was before NAT; as it is where NAT does nothing to it, or its connection isn't known.

        A connection is known once its first packet has passed all hooks.
        """
        if not self._is_tracking() or (seen := ConnTuple.of(raw)) is None:
            return raw
        now = time.monotonic_ns()
        if now - self._since > REMEMBERED or len(self._remembered) > MOST:
            self._remembered.clear()
            self._since = now
        first = self._remembered.get(seen)
        if first is None:
            first = self._first_tuple(seen)
            if first is None:
                return raw
            self._remembered[seen] = first
        return raw if first == seen else readdressed(raw, first)

    def mark(self, raw: bytes, value: int, mask: int, is_known: bool) -> bool:
        """Set these bits of the mark of the packet's connection, which the match `connmark` of iptables asks for.

        Args:
            raw: the packet.
            value, mask: which bits.
            is_known: the kernel must know the connection by now, see `first_form`. So if it doesn't know this packet,
                both ends may be translated.

        Returns:
            Whether that was done; it can't be for a connection that isn't known yet.
        """
        seen = ConnTuple.of(raw)
        if seen is None or not self._is_tracking():
            return False
        first = self._first_tuple(seen) if is_known else self._one_step_back(seen)
        if first is None:
            return False
        values = attribute(CTA_MARK, value.to_bytes(4)) + attribute(CTA_MARK_MASK, mask.to_bytes(4))
        attributes = _nested(CTA_TUPLE_ORIG, _tuple(first)) + values
        try:
            self._socket.send(_request(attributes, what=IPCTNL_MSG_CT_NEW, flags=NLM_F_ACK, family=_family(first)))
            return errors_in(self._socket.recv(ROOM)) == [0]
        except OSError:
            return False

    def _first_tuple(self, seen: ConnTuple) -> ConnTuple | None:
        return self._one_step_back(seen) or self._halfway.first_tuple(seen)

    def _one_step_back(self, seen: ConnTuple) -> ConnTuple | None:
        """The tuple before NAT, if it translates no more than one end, or has translated both."""
        if self._find(seen) is not None:
            return seen
        pair = self._find(seen.inverse)
        if pair is None:
            return None
        original, reply = pair
        return original if reply == seen.inverse else reply

    def _is_tracking(self) -> bool:
        try:
            if self._count is None:
                self._count = os.open(COUNT, os.O_RDONLY | os.O_CLOEXEC)
            return os.pread(self._count, 20, 0) != b"0\n"
        except OSError:
            return False

    def _find(self, wanted: ConnTuple) -> Pair | None:
        """The connection with this tuple, in either direction."""
        try:
            self._socket.send(_request(_nested(CTA_TUPLE_ORIG, _tuple(wanted)), family=_family(wanted)))
            data = self._socket.recv(ROOM)
        except OSError:
            return None
        return next((each.pair for each in _connections(data)), None)

    def close(self) -> None:
        """Give the sockets up."""
        self._socket.close()
        self._halfway.close()
        if self._count is not None:
            os.close(self._count)


class Halfway:
    """The connections of which NAT translates both ends, by how their packets look when it has translated one.

    The kernel finds connections only by what they look like before NAT and after it. So these are listed, which takes
    the kernel up to 40 ms, once; it then reports new ones before it returns from the verdict that makes them known.
    """

    def __init__(self) -> None:
        self._socket: socket.socket | None = None
        self._known: dict[ConnTuple, ConnTuple] = {}

    def first_tuple(self, seen: ConnTuple) -> ConnTuple | None:
        """What such a packet looked like before NAT, if it belongs to such a connection."""
        try:
            if self._socket is None or len(self._known) > MOST:
                self._begin()
            self._read()
        except OSError:  # some reports were lost, or this kernel has none
            self.close()
        return self._known.get(seen)

    def _begin(self) -> None:
        self.close()
        self._socket = _netlink()
        self._socket.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, NFNLGRP_CONNTRACK_NEW)
        wanted = TRANSLATED_TWICE.to_bytes(4)
        attributes = attribute(CTA_STATUS, wanted) + attribute(CTA_STATUS_MASK, wanted)
        self._socket.send(_request(attributes, flags=NLM_F_DUMP))
        self._read()
        only_those = (ctypes.c_char * len(FILTER)).from_buffer_copy(FILTER)
        program = struct.pack("HP", len(FILTER) // 8, ctypes.addressof(only_those))
        self._socket.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)

    def _read(self) -> None:
        assert self._socket is not None
        with suppress(BlockingIOError):
            while True:
                for status, _, pair in _connections(self._socket.recv(ROOM)):
                    if status & TRANSLATED_TWICE == TRANSLATED_TWICE:
                        for first, answer in (pair, pair[::-1]):
                            self._known[halfway(first, answer)] = first

    def close(self) -> None:
        """Forget them, and hear of no new ones."""
        self._known.clear()
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def marks() -> set[int]:
    """The marks that connections of this network namespace have.

    Raises:
        OSError: this kernel tracks none, or it is not permitted.
    """
    found: set[int] = set()
    with _netlink() as asked:
        asked.setblocking(True)
        asked.send(_request(b"", flags=NLM_F_DUMP))
        while True:
            data = asked.recv(ROOM)
            for code in filter(None, errors_in(data)):
                raise OSError(-code, os.strerror(-code))
            found.update(each.mark for each in _connections(data))
            if any(kind in (NLMSG_ERROR, NLMSG_DONE) for kind, _ in _messages(data)):
                return found


def halfway(first: ConnTuple, answer: ConnTuple) -> ConnTuple:
    """What packets look like when NAT has translated their destination, and not yet their source.

    Args:
        first: their tuple before NAT.
        answer: that of the answers, before NAT.
    """
    if first.protocol in QUERIES:
        return first._replace(destination=answer.source, sport=answer.sport)
    return first._replace(destination=answer.source, dport=answer.sport)


def _netlink() -> socket.socket:
    return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, NETLINK_NETFILTER)


# Messages to the kernel.


def _request(
    attributes: bytes, *, what: int = IPCTNL_MSG_CT_GET, flags: int = 0, family: int = socket.AF_UNSPEC
) -> bytes:
    kind = NFNL_SUBSYS_CTNETLINK << 8 | what
    return _header.pack(HEADERS + len(attributes), kind, NLM_F_REQUEST | flags, 0, 0, family, 0, 0) + attributes


def _nested(kind: int, *attributes: bytes) -> bytes:
    return attribute(kind | NESTED, b"".join(attributes))


def _family(wanted: ConnTuple) -> int:
    return socket.AF_INET if len(wanted.source) == 4 else socket.AF_INET6


def _tuple(wanted: ConnTuple) -> bytes:
    """The attributes of a tuple."""
    protocol, source, sport, destination, dport = wanted
    length = len(source)
    parts = [attribute(CTA_PROTO_NUM, protocol.to_bytes())]
    if protocol in CTA_PROTO_ID:
        first = CTA_PROTO_ID[protocol]
        values = sport.to_bytes(2), (dport >> 8).to_bytes(), (dport & 0xFF).to_bytes()
        parts += [attribute(first + nth, value) for nth, value in enumerate(values)]
    elif protocol in WITH_PORTS:
        parts += attribute(CTA_PROTO_SRC_PORT, sport.to_bytes(2)), attribute(CTA_PROTO_DST_PORT, dport.to_bytes(2))
    addresses = attribute(CTA_IP_SRC[length], source) + attribute(CTA_IP_DST[length], destination)
    return _nested(CTA_TUPLE_IP, addresses) + _nested(CTA_TUPLE_PROTO, *parts)


# Messages from the kernel.


class _Tracked(NamedTuple):
    """A connection as the kernel knows it: its status, its mark, and its tuples."""

    status: int
    mark: int
    pair: Pair


def _connections(data: bytes) -> Iterator[_Tracked]:
    """The connections that these messages are about."""
    for kind, attributes in _messages(data):
        if kind == NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_NEW:
            parts = _attributes(attributes)
            pair = _read_tuple(parts[CTA_TUPLE_ORIG]), _read_tuple(parts[CTA_TUPLE_REPLY])
            yield _Tracked(int.from_bytes(parts.get(CTA_STATUS, b"")), int.from_bytes(parts.get(CTA_MARK, b"")), pair)


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The type of each of these messages, and its attributes."""
    at = 0
    while at + HEADERS <= len(data):
        length, kind, *_ = _header.unpack_from(data, at)
        yield kind, data[at + HEADERS : at + length]
        at += max(length + 3 & ~3, HEADERS)


def _attributes(data: bytes) -> dict[int, bytes]:
    found, at = {}, 0
    while at + ATTRIBUTE.size <= len(data):
        length, kind = ATTRIBUTE.unpack_from(data, at)
        found[kind & ~NESTED] = data[at + ATTRIBUTE.size : at + length]
        at += max(length + 3 & ~3, ATTRIBUTE.size)
    return found


def _read_tuple(data: bytes) -> ConnTuple:
    parts = _attributes(data)
    addresses, rest = _attributes(parts[CTA_TUPLE_IP]), _attributes(parts[CTA_TUPLE_PROTO])
    protocol, length = rest[CTA_PROTO_NUM][0], 4 if CTA_IP_SRC[4] in addresses else 16
    first = CTA_PROTO_ID.get(protocol)
    if first is None:
        sport, dport = (rest.get(kind, b"") for kind in (CTA_PROTO_SRC_PORT, CTA_PROTO_DST_PORT))
    else:
        sport, dport = rest[first], rest[first + 1] + rest[first + 2]
    source, destination = addresses[CTA_IP_SRC[length]], addresses[CTA_IP_DST[length]]
    return ConnTuple(protocol, source, int.from_bytes(sport), destination, int.from_bytes(dport))
