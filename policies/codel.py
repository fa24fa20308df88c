"""codel: a link with a limited rate, and a queue that CoDel keeps short."""

from collections import deque
from math import sqrt
from typing import Literal

from shaper import Action, Drop, Duration, Hold, Packet, Policy, Rate, Send, Wake, ms, s

MTU = 1514
"""A queue of at most this many bytes is never too long: codel_params.mtu in the kernel's include/net/codel.h."""
AGAIN = 16
"""If dropping starts again within this many intervals, it starts at its last rate: RFC 8289, section 5.5."""


class CoDel(Policy):
    """A link with a limited rate, and a queue before it that drops packets when waits stay too long.

    The algorithm is that of RFC 8289. If every packet has waited longer than `target` for an
    `interval`, one is dropped at the queue's head. More follow at shorter and shorter
    intervals, until the wait is below `target` again. So a TCP sender that fills the queue
    notices early, and other flows on the same link don't wait behind it. `limit=` bounds the
    queue as well.

    # codel rate=1mbit target=5ms interval=10ms
    +0     < a:udp=1222 b:udp=1222 c:udp=1222 d:udp=1222 e:udp=1222
    +.010  > a              each takes 10 ms; b is the first that waited too long
    +.010  x c              10 ms later the wait is still too long
    +0     > b
    +.010  > d
    +.010  > e
    """

    needs = "headers"
    shorthand = "rate"

    scope: Literal["flow", "connection", "queue"] = "queue"
    """One link for all packets; `flow` gives each flow a link of its own."""
    rate: Rate = 10_000_000
    """How fast the link is; 0: no limit, and no queue."""
    target: Duration = 5 * ms
    """How long packets may wait in the queue, in the long run."""
    interval: Duration = 100 * ms
    """How long waits must stay above `target` before packets are dropped: about the connections' longest RTT."""

    def start(self) -> None:
        self._queue: deque[tuple[int, Packet]] = deque()  # with the times of their arrivals
        self._bytes = 0
        self._is_busy = False
        # The names are those of RFC 8289, section 5.2.
        self._first_above_time = self._drop_next = 0
        self._count = self._last_count = 0
        self._is_dropping = False

    def on_packet(self, packet: Packet, now: int) -> list[Action] | None:
        if not self.rate:
            return None
        self._queue.append((now, packet))
        self._bytes += packet.length
        return [Hold(packet), *([] if self._is_busy else self._transmit(now))]

    def on_wake(self, now: int) -> list[Action]:
        if not self.rate:
            return self._empty()
        return self._transmit(now)

    def _empty(self) -> list[Action]:
        """There is no link any more: all packets in the queue go on."""
        packets = [packet for _, packet in self._queue]
        self._queue.clear()
        self._bytes, self._is_busy = 0, False
        return [Send(packet) for packet in packets]

    def _transmit(self, now: int) -> list[Action]:
        """The link is free: the next packet that isn't dropped is sent, and takes time by its length."""
        dropped, packet = self._dequeue(now)
        self._is_busy = packet is not None
        if packet is None:
            return [Drop(one) for one in dropped]
        done = now + packet.length * 8 * s // self.rate
        return [*(Drop(one) for one in dropped), Send(packet, at=done), Wake(done)]

    def _dequeue(self, now: int) -> tuple[list[Packet], Packet | None]:
        """RFC 8289, section 5.5: the packets to drop, and the one to send; None if the queue is empty."""
        dropped: list[Packet] = []
        packet, is_late = self._head(now)
        if self._is_dropping:
            self._is_dropping = is_late
            while packet is not None and self._is_dropping and now >= self._drop_next:
                dropped.append(packet)
                self._count += 1
                packet, self._is_dropping = self._head(now)
                if self._is_dropping:
                    self._drop_next = self._control_law(self._drop_next)
        elif packet is not None and is_late:
            dropped.append(packet)
            packet, _ = self._head(now)
            self._is_dropping = True
            more = self._count - self._last_count
            is_soon = now - self._drop_next < AGAIN * self.interval
            self._count = self._last_count = more if more > 1 and is_soon else 1
            self._drop_next = self._control_law(now)
        return dropped, packet

    def _head(self, now: int) -> tuple[Packet | None, bool]:
        """RFC 8289, section 5.6: the first packet, and whether waits were too long for an interval."""
        if not self._queue:
            self._first_above_time = 0
            return None, False
        arrived, packet = self._queue.popleft()
        self._bytes -= packet.length
        if now - arrived < self.target or self._bytes <= MTU:
            self._first_above_time = 0
            return packet, False
        if not self._first_above_time:
            self._first_above_time = now + self.interval
            return packet, False
        return packet, now >= self._first_above_time

    def _control_law(self, time: int) -> int:
        """When to drop next: the interval divided by the square root of the number of drops."""
        return time + round(self.interval / sqrt(self._count))
