"""The connection and direction of each packet, and what is known about them.

A connection's *original* direction is that of its SYN or ICMP request, else that of the first packet seen. An ICMP
error belongs to the connection of the packet that it quotes, and travels in that packet's other direction. A fragment
belongs to the flow of its datagram; if the first one wasn't seen, to a flow without ports.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from typing import Final, cast

from shaper.core.datagrams import Datagrams
from shaper.core.instances import NO_INSTANCES, Identity, Instances, PolicyInstance
from shaper.core.turns import Turns
from shaper.units import s
from shaper.wire.flow import Flow
from shaper.wire.header import (
    ACK,
    SYN,
    TCP,
    UDP,
    WRAP,
    TCPHeader,
    flow_key,
    fragment_offset,
    is_answer,
    plain_key,
    read_quoted,
    read_tcp,
    reverse_key,
    split_key,
)
from shaper.wire.packet import Packet
from shaper.wire.segment import SenderState, classify_other

IDLE = 120 * s
"""A connection without packets for this long is forgotten."""
MOST = 1 << 16
"""The most connections remembered, so that a flood from ever new addresses doesn't fill the memory."""
LOOKS = 4
"""The most old connections examined for each new one, so that forgetting never takes long."""
OPPOSITE: Final = {"original": "reply", "reply": "original"}
NOTHING_SENT: Final = SenderState()
"""The state of an end of which nothing was seen."""


class Connection(Identity):
    """Both directions of one TCP connection, or of any other exchange between two ends.

    Attributes:
        nth: see `Identity`; 0 for fragments of which nothing is known: they pass all policies.
        seen: when its last packet came, in ns.
        examined: what `seen` was when the connection was last examined, to forget or to keep it.
        shared: who made the instances that both directions share, and these, by stage; None without any.
    """

    __slots__ = ("examined", "seen", "shared")

    def __init__(self, key: bytes, nth: int, now: int) -> None:
        super().__init__(key, nth)
        self.seen = self.examined = now
        self.shared: tuple[Instances, dict[int, PolicyInstance]] | None = None

    @property
    def identity(self) -> str:
        """Its text."""
        return str(self)

    def shared_by(self, instances: Instances) -> dict[int, PolicyInstance]:
        """Those of these instances that both directions share, by stage; not to be changed if none ever is."""
        if self.shared is not None and self.shared[0] is instances:
            return self.shared[1]
        if not instances.shares:
            return NO_INSTANCES
        self.shared = (instances, {})
        return self.shared[1]


class FlowState:
    """One direction of a connection.

    Attributes:
        connection: the connection.
        direction: "original" or "reply".
        sender: the state of its sender; None unless the protocol is TCP.
        kind: the class of all its packets, where the flow key alone decides it; else None.
        version: of the pipeline, with which all below agrees; -1 before the first packet, and while it has `turns`.
        instances: by stage, the instances that its packets meet when they come; none while the core is paused, nor if
            none of them does anything with packets.
        all_instances: the same, but all of them at any time, for packets that are held.
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
        self.instances: tuple[PolicyInstance, ...] = ()
        self.all_instances: tuple[PolicyInstance, ...] = ()
        self.made_by: Instances | None = None
        self.inside = 0
        self.turn = 0
        self.turns: Turns | None = None

    @property
    def is_held_alike(self) -> bool:
        """Whether each packet that comes is held for the same time by its only instance, so that they may be trains."""
        return len(self.instances) == 1 and self.instances[0].holds_all and (self.kind or self.sender) is not None


def kind_of(key: bytes) -> str:
    """The protocol of a flow as `FlowState` takes it; "other" also without ports."""
    if len(key) in (13, 37) and key[-4:] != b"\0\0\0\0":
        return "tcp" if key[0] == TCP else "udp" if key[0] == UDP else "other"
    return "other"


def take_over(state: FlowState, before: FlowState | None) -> None:
    """The flow belongs to another connection with the same ports from now on.

    Each end's segments are classified by what it sent itself, as if the other direction weren't queued.
    """
    if before is not None and state.sender is not None and before.sender is not None:
        state.sender = before.sender
        state.sender.begin = state.sender.next


def classify_all(senders: Sequence[SenderState | None], raws: Sequence[bytes]) -> list[str] | None:
    """Classify the segments among these packets, and note them with their senders.

    Args:
        senders: that of each packet, None unless its protocol is TCP.
        raws: the bytes of each packet.

    Returns:
        The class of each segment, "" for other packets; None, and nothing is noted, if a segment may begin a
        connection, or can't be read.
    """
    segments = [read_tcp(raw) for raw in raws]
    for sender, tcp in zip(senders, segments, strict=True):
        if sender is not None and (tcp is None or tcp.flags & SYN):
            return None
    kinds = []
    for sender, tcp in zip(senders, segments, strict=True):
        kinds.append(sender.classify(tcp) if sender is not None and tcp is not None else "")
    return kinds


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
        self._stray = FlowState(Connection(b"", 0, 0), "original", "other")
        self._ring: deque[Connection] = deque()
        self._counts: OrderedDict[bytes, int] = OrderedDict()

    def __len__(self) -> int:
        return 2 * len(self._ring)

    def classify(self, packet: Packet, now: int) -> FlowState:
        """Fill in the packet's class and direction, and return the state of its flow."""
        key = plain_key(packet.raw)
        state = self._flows.get(key)
        if state is None:
            state = self._known(key) or self._open(key, packet, now) if key else self._state_of(packet, now)
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

    def all_known(self, flows: Sequence[tuple[bytes, int]], version: int) -> list[FlowState] | None:
        """The states of these flows, if each agrees with this version of the pipeline.

        Args:
            flows: as `Core.pass_on` has them.
            version: see above.
        """
        states: list[FlowState] = []
        for key, _ in flows:
            state = self._flows.get(key)
            if state is None or state.version != version:
                return None
            states.append(state)
        return states

    def note(
        self,
        states: Sequence[FlowState],
        flows: Sequence[tuple[bytes, int]],
        raws: Callable[[], Sequence[bytes]],
        now: int,
    ) -> list[str] | None:
        """Note packets as `classify` does, unless one may begin a connection.

        Args:
            states: of the flows.
            flows, raws, now: see `Core.pass_on`.

        Returns:
            The class of each segment, "" for other packets; an empty list if none is a segment. None if nothing is
            noted.
        """
        kinds: list[str] | None = []
        if any(state.sender is not None for state in states):
            senders = [state.sender for state, (_, count) in zip(states, flows, strict=True) for _ in range(count)]
            kinds = classify_all(senders, raws())
        if kinds is not None:
            for state in states:
                state.connection.seen = now
        return kinds

    def other(self, packet: Packet) -> FlowState | None:
        """The state of the other direction of a plain packet's connection; None if the packet isn't plain."""
        key = plain_key(packet.raw)
        return self._known(reverse_key(key)) if key else None

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
            return self._known(key) or self._open(key, packet, now)
        key = self._key_of(cause, now)
        state = self._known(reverse_key(key))
        if state is None:
            self._open(key, cause, now)
            state = cast(FlowState, self._known(reverse_key(key)))
        return state

    def _known(self, key: bytes) -> FlowState | None:
        """The state of the flow with this key, made now if only the other direction was met; None if neither was."""
        state = self._flows.get(key)
        if state is None:
            other = self._flows.get(reverse_key(key))
            if other is not None:
                kind = other.kind or ("tcp" if other.sender is not None else "other")
                state = self._flows[key] = FlowState(other.connection, OPPOSITE[other.direction], kind)
        return state

    def _key_of(self, packet: Packet, now: int) -> bytes:
        return self._datagrams.flow_of(packet, now) if packet.ip.fragment else flow_key(packet.raw)

    def _open(self, key: bytes, packet: Packet, now: int) -> FlowState:
        tcp = packet.tcp
        reverse = reverse_key(key)
        opened_by_other = is_answer(key) or (tcp is not None and tcp.flags & (SYN | ACK) == SYN | ACK)
        original = reverse if opened_by_other else key
        connection = Connection(original, self._count(original), now)
        direction, kind = "reply" if opened_by_other else "original", kind_of(key)
        here = FlowState(connection, direction, kind)
        take_over(here, self._flows.get(key))
        before = self._flows.get(reverse)
        if before is not None:
            self._flows[reverse] = there = FlowState(connection, OPPOSITE[direction], kind)
            take_over(there, before)
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
        state = self._flows.get(reverse_key(key))
        there = NOTHING_SENT if state is None else state.sender
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

    def _count(self, key: bytes) -> int:
        """The number of this connection, given by its original direction, among those to the same service.

        They have the same addresses, too, but not the client's port or an identifier.
        """
        source, destination, ends = split_key(key)
        counted = key[:1] + source + destination + (ends[2:] if len(ends) == 4 else b"\0\0")
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
        for key in (connection.key, reverse_key(connection.key)):
            # A later connection may have these ports by now.
            if (state := self._flows.get(key)) is not None and state.connection is connection:
                del self._flows[key]
