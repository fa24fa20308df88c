"""Packet: a lazy view over the bytes of one IP packet."""

from __future__ import annotations

from collections.abc import Mapping
from struct import pack_into
from typing import TYPE_CHECKING

from shaper.wire.checksum import put_right
from shaper.wire.flow import Flow
from shaper.wire.header import IP, WRAP, TCPHeader, read_ip, read_tcp
from shaper.wire.tcp_options import changed_options, end_of_header

if TYPE_CHECKING:
    from scapy.packet import Packet as Layers

NO_TCP = TCPHeader(0, 0, 0, 0, 0, 0, 0, False)
"""Remembers that a TCP header was looked for and isn't there."""


class TruncatedPacket(ValueError):
    """The kernel copied only the beginning of this packet, so it can't be rewritten or duplicated."""


class Packet:
    """One IP packet on its way.

    Attributes:
        raw: its bytes from the IP header on; only the first of them if it is `truncated`.
        id: its number in order of arrival, from 1; 0 if a policy made it.
        arrived: when it arrived, in ns on the policy's clock.
        taken: when it was read from the queue (ns); equals `arrived` where only one of them is known.
        kind: its segment class, such as "syn" or "pure-ack" (see `shaper.wire.segment`).
        direction: "original" (from the sender of the SYN or ICMP request, else of the first packet seen) or "reply".
        by: the policy that made or dropped it; empty for other packets.
        copy_of: the packet that this one was copied from, as taken; None for others.
        frame: the captured frame that it came in (see `shaper.capture.frames`); None for other packets.
    """

    # Defaults of the class cost nothing for packets that keep them, and most packets keep most of them.
    kind = ""
    direction = "original"
    by = ""
    copy_of: Packet | None = None
    frame: object | None = None
    # The core's own: the packet as taken, if this is a rewritten one; its FlowState; the PolicyInstance that holds it,
    # since when, the number of the plan that releases it, and when that is; whether a hold was cut short; whether it
    # was let go by `Core.release`; finished holds; how many changes of its flow's pipeline came before it, see `Turns`.
    origin: Packet | None = None
    flow_state: object | None = None
    holder: object | None = None
    since = 0
    plan = 0
    due = 0
    cut_short = False
    released = False
    noted: tuple[tuple[str, int], ...] = ()
    turn = 0
    # The flow of its datagram's first fragment, for a later one.
    joined: Flow | None = None
    # What was read from its bytes so far.
    _ip: IP | None = None
    _tcp: TCPHeader | None = None
    _flow: Flow | None = None

    def __init__(self, raw: bytes, id: int = 0, arrived: int = 0) -> None:
        self.raw = raw
        self.id = id
        self.arrived = self.taken = arrived

    def __repr__(self) -> str:
        return f"<packet {self.id or 'new'} {self.kind or 'unclassified'} {self.flow}>"

    @property
    def root(self) -> Packet:
        """The packet as it was taken: for a rewritten packet the one it was made from, else itself."""
        return self.origin or self

    @property
    def ip(self) -> IP:
        """The IP header; version 0 where the bytes are no IP packet."""
        ip = self._ip
        if ip is None:
            ip = self._ip = read_ip(self.raw)
        return ip

    @property
    def tcp(self) -> TCPHeader | None:
        """The TCP header; None where there is none to read."""
        tcp = self._tcp
        if tcp is None:
            tcp = self._tcp = read_tcp(self.raw) or NO_TCP
        return None if tcp is NO_TCP else tcp

    @property
    def flow(self) -> Flow:
        """The 5-tuple that its headers name; of a later fragment, that of its datagram, if the first one was seen."""
        if self._flow is None:
            self._flow = self.joined or Flow.of(self.raw)
        return self._flow

    @property
    def length(self) -> int:
        """Bytes of the whole packet, the IP header included, however many of them were copied."""
        return self.ip.length

    @property
    def truncated(self) -> bool:
        """Whether `raw` has only the beginning of the packet."""
        return len(self.raw) < self.ip.length

    @property
    def segment(self) -> str:
        """The earlier name of `kind`; new policies use `kind`."""
        return self.kind

    @property
    def hold_times(self) -> tuple[tuple[str, int], ...]:
        """How long each policy has held it so far, as (policy, ns); a hold counts once it has ended."""
        return self.root.noted

    def forget_headers(self) -> None:
        """Give back the memory of what was read from its bytes, which is read again when somebody asks for it."""
        if self._tcp is not None:
            self._tcp = None
        if self.joined is None:
            if self._ip is not None:
                self._ip = None
            if self._flow is not None:
                self._flow = None

    def order(self) -> tuple[int, int]:
        """The key that sorts packets by arrival."""
        return self.root.arrived, self.root.id

    def join(self, flow: Flow, protocol: int) -> None:
        """Belong to this flow: a later fragment has no ports, and in IPv6 not always the transport protocol."""
        self._flow = self.joined = flow
        self._ip = self.ip._replace(protocol=protocol)

    def note_hold(self, policy: str, duration: int) -> None:
        """Record a hold that has ended, in ns; consecutive holds by one policy are added up."""
        holds = self.noted
        if holds and holds[-1][0] == policy:
            duration += holds[-1][1]
            holds = holds[:-1]
        self.noted = (*holds, (policy, duration))

    def scapy(self) -> Layers:
        """The packet's layers, dissected by scapy; a new object on each call. What is no IP packet becomes Raw."""
        # Importing scapy takes most of a second, so only its users pay for it.
        from scapy.layers import inet, inet6
        from scapy.packet import Raw

        kind = {4: inet.IP, 6: inet6.IPv6}.get(self.ip.version, Raw)
        return kind(self.raw)

    def with_raw(self, raw: bytes, *, fix: bool = True) -> Packet:
        """This packet with other bytes.

        Args:
            raw: the whole packet from the IP header on.
            fix: put lengths and checksums right; if False, the bytes go out as they are.

        Raises:
            TruncatedPacket: the kernel copied only the beginning of this packet.
        """
        self._need_whole("rewritten")
        changed = Packet(put_right(raw) if fix else raw, self.id, self.arrived)
        changed.taken, changed.kind, changed.direction = self.taken, self.kind, self.direction
        changed.origin, changed.flow_state, changed.joined = self.root, self.flow_state, self.joined
        return changed

    def with_tcp(
        self,
        *,
        seq: int | None = None,
        ack: int | None = None,
        flags: int | None = None,
        window: int | None = None,
        options: Mapping[int, bytes | None] | None = None,
        payload: bytes | None = None,
    ) -> Packet:
        """This TCP segment with other values in its header; lengths and checksums are put right.

        Args:
            seq, ack: taken modulo 2^32.
            flags: all eight bits, as in `packet.tcp.flags`.
            window: the field itself, before scaling.
            options: values by kind, such as `{2: (536).to_bytes(2)}` for an MSS of 536. None takes an option
                out; options that aren't named stay.
            payload: the bytes behind the header.

        Raises:
            TruncatedPacket: the kernel copied only the beginning of this packet.
            ValueError: it has no TCP header, or a value doesn't fit into the header.
        """
        self._need_whole("rewritten")
        tcp, raw, at = self.tcp, self.raw, self.ip.transport
        if tcp is None:
            raise ValueError(f"packet {self.id} has no TCP header")
        flags = tcp.flags if flags is None else flags
        window = tcp.window if window is None else window
        if not 0 <= flags <= 0xFF or not 0 <= window <= 0xFFFF:
            raise ValueError(f"a TCP header has no room for flags={flags:#x} and window={window}")
        end = end_of_header(raw, at)
        header = bytearray(raw[at:end])
        if options is not None:
            header[20:] = changed_options(raw, at, options)
            header[12] = len(header) << 2 | header[12] & 0xF
        words = (tcp.seq if seq is None else seq, tcp.ack if ack is None else ack)
        pack_into("!II", header, 4, *(word % WRAP for word in words))
        pack_into("!BH", header, 13, flags, window)
        return self.with_raw(raw[:at] + header + (raw[end : end + tcp.payload] if payload is None else payload))

    def with_scapy(self, layers: Layers) -> Packet:
        """This packet with the bytes of these layers; lengths and checksums are put right.

        Raises:
            TruncatedPacket: the kernel copied only the beginning of this packet.
        """
        layers = layers.copy()
        for layer in layers.iterpayloads():
            # The header lengths that scapy read are stale if options were added.
            for field in {"ihl", "dataofs"} & set(layer.fields):
                delattr(layer, field)
        return self.with_raw(bytes(layers))

    def copy(self) -> Packet:
        """A new packet with the same bytes, to be sent in addition to this one.

        Raises:
            TruncatedPacket: the kernel copied only the beginning of this packet.
        """
        self._need_whole("copied")
        twin = Packet(self.raw)
        twin.kind, twin.direction, twin.flow_state = self.kind, self.direction, self.flow_state
        twin.joined = self.joined
        twin.copy_of = self.root.copy_of or self.root
        return twin

    def _need_whole(self, what: str) -> None:
        if self.truncated:
            raise TruncatedPacket(
                f"packet {self.id} has {self.length} bytes and {len(self.raw)} were copied, so it can't be {what}: "
                'set needs = "packet" in the policy to have them all'
            )
