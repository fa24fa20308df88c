"""slicer: segments are cut into smaller ones."""

from shaper import Action, Count, Duration, Packet, Policy, Send, ms

# Flags that only the last piece has: FIN, PSH.
LAST = 0x09
URGENT = 0x20


class Slicer(Policy):
    """TCP segments are cut into pieces of at most `size` bytes, which leave `gap` apart.

    As toxiproxy's `slicer`: it exposes applications that expect one message from each `read`.
    Each piece is a segment with its own sequence number; FIN and PSH go with the last one.
    Segments with urgent data, and segments that were not copied whole, stay as they are.

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
        if tcp is None or not self.size or tcp.payload <= self.size or packet.truncated or tcp.flags & URGENT:
            return [Send(packet, at=at)]
        payload = packet.raw[packet.length - tcp.payload : packet.length]
        actions: list[Action] = []
        offset = 0
        while offset < tcp.payload:
            piece = payload[offset : offset + self._size()]
            is_last = offset + len(piece) == tcp.payload
            flags = tcp.flags if is_last else tcp.flags & ~LAST
            # The first piece stands for the packet as it came, the others are new.
            whole = packet.copy() if offset else packet
            self._until = at
            actions.append(Send(whole.with_tcp(seq=tcp.seq + offset, flags=flags, payload=piece), at=at))
            offset += len(piece)
            at += self.gap
        return actions

    def _size(self) -> int:
        """The most bytes in the next piece."""
        if not self.variation:
            return self.size
        return max(1, self.random.randint(self.size - self.variation, self.size + self.variation))
