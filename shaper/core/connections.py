"""The connection and direction of each packet, and what is known about them.

A connection's *original* direction is that of its SYN or ICMP request, else that of the first packet seen. An ICMP
error belongs to the connection of the packet that it quotes, and travels in that packet's other direction. A fragment
belongs to the flow of its datagram; if the first one wasn't seen, to a flow without ports.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import cast

from shaper.core.datagrams import Datagrams
from shaper.core.instances import Instances, PolicyInstance
from shaper.core.turns import Turns
from shaper.units import s
from shaper.wire.flow import Flow
from shaper.wire.header import (
    ACK,
    SYN,
    WRAP,
    TCPHeader,
    flow_key,
    fragment_offset,
    is_answer,
    plain_key,
    read_quoted,
    reverse_key,
)
from shaper.wire.packet import Packet
from shaper.wire.segment import SenderState, classify_other

IDLE = 120 * s
"""A connection without packets for this long is forgotten."""
MOST = 1 << 16
"""The most connections remembered, so that a flood from ever new addresses doesn't fill the memory."""
LOOKS = 4
"""The most old connections examined for each new one, so that forgetting never takes long."""


class Connection:
    """Both directions of one TCP connection, or of any other exchange between two ends.

    Attributes:
        identity: protocol, addresses, service port, and a number that counts the connections
            between these addresses to this service; the same in every run, whatever port the client got.
            Empty for fragments of which nothing is known: they pass all policies.
        keys: the flow keys of its two directions.
        seen: when its last packet came, in ns.
        examined: what `seen` was when the connection was last examined, to forget or to keep it.
        shared: by stage, the instances that both directions share.
        made_by: the `Instances` that made them.
    """

    __slots__ = ("examined", "identity", "keys", "made_by", "seen", "shared")

    def __init__(self, identity: str, keys: tuple[bytes, bytes], now: int) -> None:
        self.identity = identity
        self.keys = keys
        self.seen = self.examined = now
        self.shared: dict[int, PolicyInstance] = {}
        self.made_by: Instances | None = None


class FlowState:
    """One direction of a connection.

    Attributes:
        connection: the connection.
        direction: "original" or "reply".
        sender: the state of its sender; None unless the protocol is TCP.
        kind: the class of all its packets, where the flow key alone decides it; else None.
        version: of the pipeline, with which all below agrees; -1 before the first packet, and while it has `turns`.
        instances: by stage, the instances that its packets meet when they come; none while the core is paused.
        all_instances: the same, but also while the core is paused, for packets that are held then.
        made_by: the `Instances` that made them.
        inside: how many of its packets are in the pipeline.
        turn: how many changes that keep the order of packets it has seen.
        turns: whose turn it is to leave the pipeline; None unless a change still matters.
    """

    __slots__ = (
        "all_instances", "connection", "direction", "inside", "instances", "kind", "made_by", "sender", "turn",
        "turns", "version",
    )  # fmt: skip

    def __init__(self, connection: Connection, direction: str, protocol: str) -> None:
        self.connection = connection
        self.direction = direction
        self.sender = SenderState() if protocol == "tcp" else None
        self.kind = "udp" if protocol == "udp" else None
        self.version = -1
        self.instances: list[PolicyInstance] = []
        self.all_instances: list[PolicyInstance] = []
        self.made_by: Instances | None = None
        self.inside = 0
        self.turn = 0
        self.turns: Turns | None = None


class Connections:
    """The table of all connections seen lately.

    If a connection is forgotten, the packets that its policies hold and their wakes still come at their times. Only its
    next packet counts as one of a new connection.

    Args:
        idle: a connection without packets for this long (ns) is forgotten.
        pass_strays: see `Core`.
    """

    def __init__(self, idle: int = IDLE, *, pass_strays: bool = False) -> None:
        self._idle = idle
        self._pass_strays = pass_strays
        self._flows: dict[bytes, FlowState] = {}
        self._datagrams = Datagrams()
        self._stray = FlowState(Connection("", (b"", b""), 0), "original", "other")
        self._ring: deque[Connection] = deque()
        self._counts: OrderedDict[tuple[str, str, str, int], int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._flows)

    def classify(self, packet: Packet, now: int) -> FlowState:
        """Fill in the packet's class and direction, and return the state of its flow."""
        key = plain_key(packet.raw)
        state = self._flows.get(key)
        if state is None:
            state = self._open(key, packet, now) if key else self._state_of(packet, now)
        if key and state.kind is not None:
            packet.kind = state.kind
        elif state.sender is not None and (tcp := packet.tcp) is not None:
            if tcp.flags & SYN:
                key = key or flow_key(packet.raw)
                if self._opens_another(state.sender, key, tcp):
                    state = self._open(key, packet, now)
            packet.kind = state.sender.classify(tcp) if state.sender is not None else "other"
        else:
            packet.kind = classify_other(packet.ip)
        packet.direction = state.direction
        packet.flow_state = state
        state.connection.seen = now
        return state

    def known(self, flow: Flow) -> FlowState | None:
        """The state of a flow; None if no packet of its connection was seen lately."""
        return self._flows.get(flow.key)

    def find(self, packet: Packet, now: int) -> FlowState:
        """The state of the flow of a packet that a policy made; doesn't change its sender's state."""
        if packet.flow_state is not None:
            return cast(FlowState, packet.flow_state)
        state = self._state_of(packet, now)
        tcp = packet.tcp
        packet.kind = SenderState().classify(tcp) if tcp is not None else classify_other(packet.ip)
        packet.direction = state.direction
        packet.flow_state = state
        return state

    def _state_of(self, packet: Packet, now: int) -> FlowState:
        """The state of the flow of any packet; a new one, if no packet of its connection was seen lately."""
        cause = Packet(read_quoted(packet.raw, packet.ip))
        if not cause.ip.version:
            key = self._key_of(packet, now)
            if self._pass_strays and packet.joined is None and fragment_offset(packet.raw, packet.ip):
                return self._stray
            return self._flows.get(key) or self._open(key, packet, now)
        key = self._key_of(cause, now)
        reverse = reverse_key(key)
        if reverse not in self._flows:
            self._open(key, cause, now)
        return self._flows[reverse]

    def _key_of(self, packet: Packet, now: int) -> bytes:
        return self._datagrams.flow_of(packet, now) if packet.ip.fragment else flow_key(packet.raw)

    def _open(self, key: bytes, packet: Packet, now: int) -> FlowState:
        flow, tcp = packet.flow, packet.tcp
        reverse = reverse_key(key)
        opened_by_other = is_answer(key) or (tcp is not None and tcp.flags & (SYN | ACK) == SYN | ACK)
        source, destination, service = flow.source, flow.destination, flow.dport
        if opened_by_other:
            source, destination, service = destination, source, flow.sport
        counted = (flow.protocol, source, destination, service)
        identity = f"{flow.protocol} {source} > {destination} {service} #{self._count(counted)}"
        connection = Connection(identity, (key, reverse), now)
        kind = flow.protocol if flow.protocol in ("tcp", "udp") and flow.dport + flow.sport else "other"
        here = FlowState(connection, "reply" if opened_by_other else "original", kind)
        there = FlowState(connection, "original" if opened_by_other else "reply", kind)
        for state, of in ((here, key), (there, reverse)):
            before = self._flows.get(of)
            if before is not None and state.sender is not None and before.sender is not None:
                # Another connection with these ports. Each end's segments are classified by what it sent itself, as
                # if the other direction weren't queued.
                state.sender = before.sender
                state.sender.begin = state.sender.next
        self._flows[reverse] = there
        self._flows[key] = here
        self._ring.append(connection)
        self._forget_some(now)
        return here

    def _opens_another(self, here: SenderState, key: bytes, tcp: TCPHeader) -> bool:
        """Whether a SYN or SYN-ACK belongs to another connection than the segments before it with these ports.

        A SYN does unless it repeats an earlier one of its sender's, was overtaken by its SYN-ACK, or the other end is
        opening as well: a simultaneous open (RFC 9293, section 3.5), or a handshake that answers with a SYN of its
        own after the ACK. A SYN-ACK does if the SYN that it answers wasn't seen, and it is neither the first, nor a
        repeat, nor was overtaken by the segment behind it.

        Args:
            here: the state of its sender before it.
            key: its flow's.
        """
        there = self._flows[reverse_key(key)].sender
        if there is None or tcp.seq in (here.isn, here.synack_isn):
            return False
        if tcp.flags & ACK:
            return here.has_sent and there.isn < 0 and here.begin != (tcp.seq + 1) % WRAP
        if here.has_sent:
            return True
        if here.next < 0:
            # Only a SYN or SYN-ACK of the other end may come before it; other segments are of an earlier connection.
            return there.next >= 0 > max(there.isn, there.synack_isn)
        return not there.is_opening

    def recount(self) -> None:
        """Connections that begin from now on are counted from 1 again."""
        self._counts.clear()

    def _count(self, counted: tuple[str, str, str, int]) -> int:
        """The number of this connection among those between these addresses to this service."""
        nth = self._counts[counted] = self._counts.pop(counted, 0) + 1
        if len(self._counts) > MOST:
            self._counts.popitem(last=False)
        return nth

    def _forget_some(self, now: int) -> None:
        """Forget connections without packets for long; if there are many, those without any since the last look.

        The second-chance algorithm of page replacement: to keep an exact order would cost time for each
        packet, and a sweep of the whole table would delay all packets.
        """
        ring = self._ring
        for _ in range(LOOKS):
            connection = ring[0]
            if connection.seen > now - self._idle and len(ring) <= MOST:
                if connection.seen > connection.examined:
                    connection.examined = connection.seen
                    ring.rotate(-1)
                    continue
                # There must be room for new connections while the ring goes round once for those in use.
                if len(ring) <= MOST * 3 // 4:
                    return
            self._forget(ring.popleft())

    def _forget(self, connection: Connection) -> None:
        for key in connection.keys:
            # A later connection may have these ports by now.
            if (state := self._flows.get(key)) is not None and state.connection is connection:
                del self._flows[key]
