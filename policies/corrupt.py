"""corrupt: one bit is flipped in some packets."""

from collections.abc import Collection
from typing import Literal

from shaper import Action, Chance, Packet, Policy, Send, Share


class Corrupt(Policy):
    """One bit, anywhere behind the IP header, is flipped in some packets.

    The receiver finds that the checksum is wrong and drops the packet, so it is lost later
    than with `loss`. With `checksum=right` the bit is one of the payload, and the change
    reaches the application, as from faulty memory on the way. netem's `corrupt` also flips
    bits of the link's header and the IP header; here the kernel has already read those.
    Packets without such a bit stay as they are.

    # corrupt probability=100% checksum=right
    +0     < a
    +0     > a:changed
    """

    shorthand = "probability"
    can_hold = False

    scope: Literal["flow", "connection", "queue"] = "queue"
    """One object for the link, as in netem; `flow` gives each flow its own random numbers."""
    probability: Share = 0.02
    """The share of packets with a flipped bit."""
    correlation: Share = 0.0
    """How much each choice depends on the one before."""
    checksum: Literal["wrong", "right"] = "wrong"
    """wrong: the checksum shows that the packet is corrupt. right: it is put right."""

    def start(self) -> None:
        self._chance = Chance(self.random, self.correlation)

    def on_change(self, changed: Collection[str]) -> None:
        if "correlation" in changed:
            self._chance = Chance(self.random, self.correlation)

    def on_packet(self, packet: Packet, now: int) -> Action | None:
        if not self._chance.happens(self.probability) or packet.truncated:
            return None
        begin = payload_of(packet) if self.checksum == "right" else packet.ip.transport
        if not 0 <= begin < packet.length:
            return None
        bit = self.random.randrange(8 * begin, 8 * packet.length)
        # A checksum that the sender left to its network card is filled in before the bit is flipped.
        raw = bytearray(packet.with_raw(packet.raw).raw)
        raw[bit // 8] ^= 1 << bit % 8
        return Send(packet.with_raw(bytes(raw), fix=self.checksum == "right"))


def payload_of(packet: Packet) -> int:
    """Where the payload of TCP, UDP or ICMP begins; -1 where that isn't known, and for fragments.

    The checksum of a fragment is that of its whole datagram, so it can't be put right.
    """
    at = packet.ip.transport
    if at < 0 or packet.kind == "other" or packet.ip.fragment:
        return -1
    return packet.length - packet.tcp.payload if packet.tcp is not None else at + 8
