"""rate: a link of limited rate, with a queue before it."""

from typing import Literal

from shaper import Duration, Packet, Policy, Rate, Send, Size, ns, s


class RateLimit(Policy):
    """A link of limited rate: each packet takes its length's time to be sent, and waits for those before it.

    As netem's `rate`, one object for the link; over lo, both directions share it. With `burst`
    it is a token bucket, as tc-tbf(8): so many bytes go at once after a pause. `limit=` bounds
    the queue, in packets or bytes; what comes beyond is dropped.

    # rate rate=1mbit
    +0     < a:udp=97 b:udp=97      125 bytes each, with their headers
    +.001  > a
    +.001  > b
    """

    needs = "headers"
    shorthand = "rate"

    scope: Literal["flow", "connection", "queue"] = "queue"
    """One link for all packets; `flow` gives each flow a link of its own."""
    rate: Rate = 10_000_000
    """How fast the link is."""
    overhead: int = 0
    """Bytes to count for each packet beyond its own, such as 14 for Ethernet's header; may be negative."""
    cell: Size = 0
    """The payload of the cells into which packets are cut, such as 48 for ATM; 0: none."""
    cell_overhead: int = 0
    """Bytes to count for each cell beyond its payload, such as 5 for ATM."""
    burst: Size = 0
    """Bytes that go at once after a pause; 0: none."""

    def start(self) -> None:
        # When the link has sent all that it has taken; less than now by the burst at most.
        self._free = None if not self.rate else -(1 << 62)
        self._credit: Duration = self._time_for(self.burst) * ns if self.rate else 0

    def on_packet(self, packet: Packet, now: int) -> Send | None:
        if self._free is None:
            return None
        self._free = max(self._free, now - self._credit) + self._time_for(self._counted(packet.length))
        return Send(packet, at=self._free)

    def _counted(self, length: int) -> int:
        """The bytes that go over the link: packet_time_ns() in the kernel's net/sched/sch_netem.c."""
        length = max(0, length + self.overhead)
        if self.cell:
            length = -(-length // self.cell) * max(0, self.cell + self.cell_overhead)
        return length

    def _time_for(self, length: int) -> int:
        return length * 8 * s // self.rate
