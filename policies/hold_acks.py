"""hold_acks: pure ACKs are held, batched or thinned."""

from typing import Literal

from shaper import Action, Count, Drop, Duration, Flow, Hold, Packet, Policy, Send, Wake, ms


class HoldAcks(Policy):
    """Pure ACKs are held: each for `time`, or in batches, or in batches of which only the newest is sent.

    So a receiver whose ACKs are late slows down a sender, whose rate follows the ACKs. With
    `mode=thin,count=4`, only every fourth segment seems to be acknowledged; `ack_every` does
    that without holding the ACKs that it drops. Pure ACKs carry no payload, no SACK blocks
    and no other flags, and acknowledge something new. Everything else goes on at once:
    duplicate ACKs and window updates, data, SYN, FIN, RST.

    Packets of a flow never change their order: before a packet goes on at once, the held ACKs
    of its flow go on. That loses nothing, because data and FIN acknowledge at least as much.
    An ACK behind them would be stale: it could shrink the window, or be answered with a
    duplicate ACK, or with a RST if the connection is closed by then.

    # hold_acks mode=thin time=40ms count=3
    +0     < k1:ack=1001
    +.010  < k2:ack=2001
    +.010  < k3:ack=3001    the third fills the batch
    +0     x k1 k2
    +0     > k3             it acknowledges all that the others did
    """

    needs = "headers"
    shorthand = "time"

    mode: Literal["delay", "batch", "thin"] = "delay"
    """delay: each ACK is held for `time`. batch: ACKs are sent together, once there are `count` of
    them or the first was held for `time`. thin: as batch, but only the newest is sent."""
    time: Duration = 40 * ms
    """The longest that an ACK is held; 40 ms is the shortest delayed-ACK timer of Linux."""
    count: Count = 8
    """How many ACKs make a batch."""
    handshake: bool = False
    """Also hold the ACK that completes the handshake."""

    def start(self) -> None:
        self._held: list[tuple[int, Packet]] = []

    def on_packet(self, packet: Packet, now: int) -> list[Action] | None:
        if not self._is_pure(packet):
            if not self._held:
                return None
            return [*self._release([entry for entry in self._held if entry[1].flow == packet.flow]), Send(packet)]
        if not self.time:
            return None
        self._held.append((now + self.time, packet))
        if self.mode != "delay" and len(self._held) >= self.count:
            return self._release(self._held)
        return [Hold(packet), Wake(self._held[0][0])]

    def on_wake(self, now: int) -> list[Action]:
        over = [entry for entry in self._held if entry[0] <= now]
        return self._release(self._held if over and self.mode != "delay" else over)

    def _is_pure(self, packet: Packet) -> bool:
        if packet.kind != "pure-ack" and not (self.handshake and packet.kind == "handshake-ack"):
            return False
        return packet.tcp is not None and packet.tcp.is_bare_ack

    def _release(self, entries: list[tuple[int, Packet]]) -> list[Action]:
        """Send these held ACKs, or with `mode=thin` only the newest of each flow, and wake for the next one."""
        packets = [packet for _, packet in entries]
        actions: list[Action] = [Send(packet) for packet in packets]
        if self.mode == "thin":
            newest: dict[Flow, Packet] = {}
            for packet in packets:
                if packet.flow not in newest or is_newer(packet, newest[packet.flow]):
                    newest[packet.flow] = packet
            actions = [Send(packet) if newest[packet.flow] is packet else Drop(packet) for packet in packets]
        self._held = [entry for entry in self._held if entry not in entries]
        if self._held:
            actions.append(Wake(self._held[0][0]))
        return actions


def is_newer(packet: Packet, other: Packet) -> bool:
    """Whether a packet acknowledges at least as much as the other; sequence numbers wrap (RFC 9293, section 3.4)."""
    assert packet.tcp is not None
    assert other.tcp is not None
    return (packet.tcp.ack - other.tcp.ack) % (1 << 32) < 1 << 31
