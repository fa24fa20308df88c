"""slicer: segments are cut into smaller ones."""

from collections.abc import Iterator

from shaper import Action, Count, Duration, Packet, Policy, Send, ms, tcp_options

FIN, SYN, RST, PSH, _, URG, ECE, CWR = (1 << bit for bit in range(8))
TIMESTAMPS = 8
"""The only kind of option on a SYN that belongs to all segments."""
SIGNATURES = {19, 29}
"""The kinds of options that sign a whole segment: RFC 2385 (MD5), RFC 5925 (TCP-AO)."""


class Slicer(Policy):
    """TCP segments are cut into pieces of at most `size` bytes, which leave `gap` apart.

    As toxiproxy's `slicer`: it exposes applications that expect one message from each `read`.
    Each piece is a segment with its own sequence number. What is said once stays so: SYN with
    its options and CWR go with the first piece, FIN and PSH with the last one (RFC 9293, RFC
    3168). Of a SYN with data (TCP Fast Open, RFC 7413) the receiver takes the first piece.
    The sender repeats the others when the SYN is acknowledged, and they are cut again.

    RSTs, segments with urgent data or a signature (MD5, TCP-AO), and segments that were not
    copied whole, stay as they are.

    # slicer size=40 gap=10ms
    +0     < a
    +0     > a:data=40
    +.010  > b:data=40,seq=41
    +.010  > c:data=20,seq=81
    """

    shorthand = "size"

    size: Count = 64
    """The most bytes of payload in a piece; 0: segments stay whole."""
    variation: Count = 0
    """How far the pieces' sizes spread around `size`, which is then their mean; the last piece has the rest."""
    gap: Duration = 1 * ms
    """The time between two pieces; later packets of the flow wait for them."""

    def start(self) -> None:
        self._until = 0

    def on_packet(self, packet: Packet, now: int) -> list[Action]:
        at = max(now, self._until)
        tcp = packet.tcp
        if tcp is None or not self.size or tcp.payload <= self.size or not can_be_cut(packet):
            return [Send(packet, at=at)]
        actions: list[Action] = []
        for piece in self._pieces(packet):
            self._until = at
            actions.append(Send(piece, at=at))
            at += self.gap
        return actions

    def _pieces(self, packet: Packet) -> Iterator[Packet]:
        """The first stands for the packet as it came, the others are new."""
        tcp = packet.tcp
        assert tcp is not None
        begin, end = packet.length - tcp.payload, packet.length
        seq, flags = tcp.seq, tcp.flags
        options: dict[int, None] = {}
        while begin < end:
            piece = packet.raw[begin : min(begin + self._size(), end)]
            begin += len(piece)
            whole = packet if seq == tcp.seq else packet.copy()
            last = flags if begin == end else flags & ~(FIN | PSH)
            yield whole.with_tcp(seq=seq, flags=last, options=options, payload=piece)
            seq += len(piece)
            if flags & SYN:
                # It takes a sequence number, and gives ECE another meaning (RFC 3168, section 6.1.1).
                seq += 1
                flags &= ~(SYN | ECE)
                options = dict.fromkeys(kind for kind in tcp_options(packet) if kind != TIMESTAMPS)
            flags &= ~CWR

    def _size(self) -> int:
        """The most bytes in the next piece."""
        if not self.variation:
            return self.size
        return max(1, self.random.randint(self.size - self.variation, self.size + self.variation))


def can_be_cut(packet: Packet) -> bool:
    """Whether a receiver accepts this TCP segment in pieces as it does whole."""
    tcp = packet.tcp
    if tcp is None or packet.truncated or tcp.flags & (RST | URG):
        return False
    return not SIGNATURES & tcp_options(packet).keys()
