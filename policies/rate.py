"""rate: a link with a limited rate, and a queue before it."""

from collections.abc import Collection
from typing import Literal

from shaper import Duration, Link, Packet, Policy, Rate, Send, Size, ns


class RateLimit(Policy):
    """A link with a limited rate: sending a packet takes time by its length, and later packets wait for it.

    As netem's `rate`, one object for the link; on lo, both directions share it. The length is
    that of the IP packet. netem also counts the Ethernet header, which is `overhead=14` here.
    With `burst` it is a token bucket, as tc-tbf(8): after a pause, that number of bytes goes
    on at once.
    `limit=` bounds the queue, in packets or bytes; packets beyond it are dropped.

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
    """Bytes added to the length of each packet, such as 14 for the Ethernet header; may be negative."""
    cell: Size = 0
    """The payload of the cells into which packets are cut, such as 48 for ATM; 0: no cells."""
    cell_overhead: int = 0
    """Bytes added to the payload of each cell, such as 5 for ATM."""
    burst: Size = 0
    """Bytes that go on at once after a pause; 0: none."""

    def start(self) -> None:
        # When the link has sent all its packets; at most the time for `burst` before now.
        self._free = -(1 << 62)
        self.on_change(())

    def on_change(self, changed: Collection[str]) -> None:
        """Packets that are queued leave as planned, later ones after them."""
        self._link = Link(self.rate, self.overhead, self.cell, self.cell_overhead) if self.rate else None
        self._credit: Duration = Link(self.rate).time_for(self.burst) * ns if self.rate else 0

    def on_packet(self, packet: Packet, now: int) -> Send | None:
        if self._link is None:
            return None
        self._free = max(self._free, now - self._credit) + self._link.time_for(packet.length)
        return Send(packet, at=self._free)
