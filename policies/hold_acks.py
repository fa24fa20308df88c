"""hold_acks: pure ACKs are held, each for a time or in batches."""

from typing import Literal

from shaper import Action, Count, Duration, Hold, Packet, Policy, Send, Wake, ms

ACK_ALONE = "A"


class HoldAcks(Policy):
    """Pure ACKs are held: each for `time`, or until a batch of them goes on together.

    What a receiver with late ACKs does to a sender: its rate follows the ACKs. To have
    fewer of them, see `ack_every`. Pure ACKs carry no payload, no SACK blocks and no flags,
    and acknowledge something new. All else goes on at once: duplicate ACKs and window
    updates, data, SYN, FIN, RST.

    Packets of a flow never change their order: what goes on at once lets the held ACKs of
    its flow go first. Nothing is lost by that, for data and FIN acknowledge at least as
    much; an ACK that came after them would be stale, and could shrink the window, be
    answered with a duplicate ACK, or with a RST where the connection is closed by then.

    # hold_acks time=20ms
    +0     < k1:ack=1001
    +.010  < k2:ack=2001
    +.010  > k1
    +.010  > k2
    """

    needs = "headers"
    shorthand = "time"

    mode: Literal["delay", "batch"] = "delay"
    """delay: each ACK is held for `time`. batch: ACKs are sent together when `count` are there
    or the first was held for `time`."""
    time: Duration = 40 * ms
    """The longest that an ACK is held; 40 ms is Linux's own least delayed-ACK timer."""
    count: Count = 8
    """How many ACKs make a batch."""
    handshake: bool = False
    """Hold the ACK that completes the handshake, too."""

    def start(self) -> None:
        # Each with the time at which it goes on at the latest.
        self._held: list[tuple[int, Packet]] = []

    def on_packet(self, packet: Packet, now: int) -> list[Action] | None:
        if not self._is_pure(packet):
            if not self._held:
                return None
            return [*self._release([entry for entry in self._held if entry[1].flow == packet.flow]), Send(packet)]
        if not self.time:
            return None
        self._held.append((now + self.time, packet))
        if self.mode == "batch" and len(self._held) >= self.count:
            return self._release(self._held)
        return [Hold(packet), Wake(self._held[0][0])]

    def on_wake(self, now: int) -> list[Action]:
        over = [entry for entry in self._held if entry[0] <= now]
        return self._release(self._held if over and self.mode == "batch" else over)

    def _is_pure(self, packet: Packet) -> bool:
        if packet.segment != "pure-ack" and not (self.handshake and packet.segment == "handshake-ack"):
            return False
        tcp = packet.tcp
        return tcp is not None and tcp.flag_names == ACK_ALONE and not tcp.sack

    def _release(self, entries: list[tuple[int, Packet]]) -> list[Action]:
        """Send these held ACKs, and wake for the next one."""
        actions: list[Action] = [Send(packet) for _, packet in entries]
        self._held = [entry for entry in self._held if entry not in entries]
        if self._held:
            actions.append(Wake(self._held[0][0]))
        return actions
