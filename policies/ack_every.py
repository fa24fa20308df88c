"""ack_every: only every nth pure ACK goes on."""

from typing import Literal

from shaper import Action, Count, Drop, Duration, Hold, Packet, Policy, Send, Wake, ms


class AckEvery(Policy):
    """Of `count` pure ACKs in a row only the newest goes on, which acknowledges all that the others do.

    The others are dropped, as on asymmetric links and by hosts that thin out ACKs (RFC 3449,
    section 5.2.2): the sender's window opens in jumps, and its bursts grow. If too few ACKs
    follow, the newest goes on after `time`. Pure ACKs carry no payload, no SACK blocks and no
    other flags, and acknowledge something new. Everything else goes on at once, right behind
    the newest ACK: duplicate ACKs and window updates, data, SYN, FIN, RST.

    # ack_every count=3
    +0     < k1:ack=1001
    +.010  < k2:ack=2001
    +0     x k1
    +.010  < k3:ack=3001
    +0     x k2
    +0     > k3
    """

    needs = "headers"
    shorthand = "count"

    scope: Literal["flow"] = "flow"
    """One object per direction of a connection."""
    count: Count = 2
    """How many ACKs become one; 0 and 1: all go on."""
    time: Duration = 40 * ms
    """The longest that an ACK is held; 40 ms is the shortest delayed-ACK timer of Linux."""

    def start(self) -> None:
        self._newest: Packet | None = None
        self._seen = 0

    def on_packet(self, packet: Packet, now: int) -> list[Action] | None:
        if not is_pure(packet):
            return [*self._go_on(), Send(packet)]
        older, self._newest = self._newest, packet
        self._seen += 1
        dropped = [] if older is None else [Drop(older)]
        if self._seen >= self.count:
            return [*dropped, *self._go_on()]
        return [*dropped, Hold(packet), *([Wake(now + self.time)] if older is None else [])]

    def on_wake(self, now: int) -> list[Action]:
        return self._go_on()

    def _go_on(self) -> list[Action]:
        """The newest ACK goes on, and the count starts again."""
        newest, self._newest, self._seen = self._newest, None, 0
        return [] if newest is None else [Send(newest)]


def is_pure(packet: Packet) -> bool:
    """Whether nothing is lost if this packet is dropped and a newer one goes on."""
    return packet.kind == "pure-ack" and packet.tcp is not None and packet.tcp.is_bare_ack
