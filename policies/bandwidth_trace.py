"""bandwidth_trace: a link whose rate changes over time, as recorded in a Mahimahi trace."""

from collections.abc import Collection
from typing import Annotated, Literal

from shaper import Packet, Policy, Send, Unit, ms, read_file

Milliseconds = tuple[int, ...]

OPPORTUNITY = 1504
"""Bytes that each line of a trace lets through (PACKET_SIZE in mahimahi's link_queue.hh)."""
HEADER = 4
"""Bytes of them that each packet takes beside its own: mahimahi's TUN devices put a `struct tun_pi` before it."""

# 50 ms with an opportunity each millisecond (12 Mbit/s), then 50 ms with one in ten (1.2 Mbit/s).
FAST_AND_SLOW = (*range(1, 51), *range(60, 101, 10))


def read_trace(path: str) -> Milliseconds:
    """A Mahimahi trace: each line has the millisecond at which one packet may leave.

    Raises:
        ValueError: the file can't be read, or is not such a trace.
    """
    words = read_file(path).split()
    try:
        times = tuple(int(word) for word in words)
    except ValueError:
        raise ValueError(f"{path} may hold only whole milliseconds") from None
    if not times or times[0] < 0 or list(times) != sorted(times) or times[-1] == 0:
        raise ValueError(f"{path} must hold milliseconds in ascending order, the last of them above 0")
    return times


def format_trace(times: Milliseconds) -> str:
    """What a trace holds, in short: "55 packets in 100 ms"."""
    return f"{len(times)} packets in {times[-1]} ms"


Trace = Annotated[Milliseconds, Unit("trace file", read_trace, format_trace)]


class BandwidthTrace(Policy):
    """A link whose rate changes over time: at each recorded millisecond, a packet of 1500 bytes may leave.

    Traces are those of Mahimahi (mm-link), which comes with some of mobile networks. The trace
    starts with the first packet, and starts again at its end. As in mm-link, each of these
    opportunities is 1504 bytes, and each packet takes 4 more than it has. Small packets share
    one, a packet that doesn't fit into the rest of one leaves with the next; what no packet uses
    is lost. A packet above 1500 bytes, which mm-link refuses, takes several. `limit=` bounds the
    queue.

    # bandwidth_trace
    +0     < a:udp=2472 b:udp=472 c:udp=472
    +.002  > a b            2500 + 4 and 500 + 4 bytes fill two opportunities
    +.001  > c
    """

    needs = "headers"
    shorthand = "trace"

    scope: Literal["flow", "connection", "queue"] = "queue"
    """One link for all packets; `flow` gives each flow a link of its own."""
    trace: Trace = FAST_AND_SLOW
    """A trace file; without one, 12 Mbit/s and 1.2 Mbit/s alternate every 50 ms."""

    def start(self) -> None:
        self._begin: int | None = None
        # The opportunity in use: its number since the beginning, and what is left of it, in bytes.
        self._nth = 0
        self._left = OPPORTUNITY
        # When the last packet so far leaves.
        self._last = 0

    def on_change(self, changed: Collection[str]) -> None:
        """Another trace starts with the next packet, once those before it have left."""
        if "trace" in changed:
            self._begin, self._nth, self._left = None, 0, OPPORTUNITY

    def on_packet(self, packet: Packet, now: int) -> Send:
        if self._begin is None:
            self._begin = max(now, self._last)
        while self._time(self._nth) < now:
            self._skip(now)
        length = packet.length + HEADER
        while length > self._left:
            length -= self._left
            self._nth += 1
            self._left = OPPORTUNITY
        self._left -= length
        self._last = self._time(self._nth)
        return Send(packet, at=self._last)

    def _time(self, nth: int) -> int:
        """When an opportunity comes, in ns."""
        assert self._begin is not None
        turns, index = divmod(nth, len(self.trace))
        return self._begin + (turns * self.trace[-1] + self.trace[index]) * ms

    def _skip(self, now: int) -> None:
        """Opportunities that have passed are lost; whole turns of the trace are skipped at once."""
        turns = (now - self._time(self._nth)) // (self.trace[-1] * ms)
        self._nth += max(1, turns * len(self.trace))
        self._left = OPPORTUNITY
