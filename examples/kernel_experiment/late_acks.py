"""late_acks: the ACKs of data are late, so that their sender wonders what became of it."""

from shaper import Action, Duration, Packet, Policy, Send, ms


class LateAcks(Policy):
    """Each pure ACK is held for `time`; everything else goes on at once, duplicate ACKs as well.

    # ./late_acks.py time=600ms
    +0     < d1:data=1 d2:data=1
    +0     > d1 d2
    +0     < k1:reply,ack=2 k2:reply,ack=3
    +.040  < d2again:seq=2,data=1               the sender has not waited for them
    +0     > d2again
    +0     < k3:reply,ack=3,sack                a duplicate ACK: it came twice
    +0     > k3
    +.560  > k1 k2
    """

    needs = "headers"
    shorthand = "time"

    time: Duration = 600 * ms
    """How long ACKs are held; longer than the kernel waits before it sends a segment again."""

    def on_packet(self, packet: Packet, now: int) -> Action | None:
        """Hold it, if it is a pure ACK."""
        return Send(packet, at=now + self.time) if packet.kind == "pure-ack" else None
