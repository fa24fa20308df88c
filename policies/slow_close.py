"""slow_close: the end of a connection is delayed."""

from shaper import Classes, Duration, Packet, Policy, Send, ms


class SlowClose(Policy):
    """Each FIN is held for a time; everything else passes at once, even behind the FIN.

    As toxiproxy's `slow_close`. The other end learns late that there is nothing more to
    read, so its `read` or `poll` waits. Each retransmission of the FIN is held as well.

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
    """Hold only these classes; `fin+rst` also holds resets."""
    time: Duration = 500 * ms
    """How long a FIN is held."""

    def on_packet(self, packet: Packet, now: int) -> Send:
        return Send(packet, at=now + self.time)
