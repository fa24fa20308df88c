"""slow_close: a connection's end is late."""

from shaper import Classes, Duration, Packet, Policy, Send, ms


class SlowClose(Policy):
    """FIN is held for a time; everything else passes at once, what follows the FIN too.

    As toxiproxy's `slow_close`. The other end learns late that there is nothing more to
    read; its `read` or `poll` waits. Each retransmission of the FIN is held as long.

    # slow_close time=50ms
    +0     < d:data=6 f:fin
    +0     > d
    +.010  < k:ack
    +0     > k
    +.040  > f
    """

    needs = "headers"
    shorthand = "time"

    only: Classes = frozenset({"fin"})
    """Hold these classes alone; `fin+rst` holds resets, too."""
    time: Duration = 500 * ms
    """How long a FIN is held."""

    def on_packet(self, packet: Packet, now: int) -> Send:
        return Send(packet, at=now + self.time)
