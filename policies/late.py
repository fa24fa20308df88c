"""late: packets of some classes are late, alone or with all that follows them."""

from typing import Literal

from shaper import Classes, Count, Duration, Numbers, Packet, Policy, Send, ms


class Late(Policy):
    """Packets of these classes leave `time` later, as if the host that sends them were slow.

    As `delay:only=…`, with three more choices. Packets behind a late one may wait for it, as on
    a wire, or overtake it. The service's port may decide, and which packet of its class it is
    in its flow. `shaper causal` uses it to find the packets that a program waits for.

    # late classes=handshake-ack time=10ms
    +0     < s:syn
    +0     > s
    +.010  < k:ack d:data=6        a client's ACK, and its data behind it
    +.010  > k d
    """

    needs = "headers"
    shorthand = "time"

    time: Duration = 20 * ms
    """How much later they leave."""
    classes: Classes = frozenset(("data",))
    """Which segment classes are late."""
    order: Literal["keep", "free"] = "keep"
    """Whether later packets of the flow wait for a late one, or overtake it."""
    port: Count = 0
    """Only packets from or to this port are late; 0: of any port."""
    nth: Numbers = frozenset()
    """Only these of the late classes in each flow, such as 1+3; by default all."""

    def start(self) -> None:
        self._seen = self._last = 0

    def on_packet(self, packet: Packet, now: int) -> Send | None:
        at = now + self.time if self._is_late(packet) else now
        if self.order == "keep":
            at = self._last = max(at, self._last)
        return Send(packet, at)

    def _is_late(self, packet: Packet) -> bool:
        if packet.kind not in self.classes:
            return False
        if self.port and self.port not in (packet.flow.sport, packet.flow.dport):
            return False
        self._seen += 1
        return not self.nth or self._seen in self.nth
