"""The agenda: what is planned, by time, then in the order in which it was planned."""

from collections import deque
from heapq import heappop, heappush

from shaper.packet import Packet
from shaper.seat import Seat

Entry = tuple[int, int, Seat, Packet | None]
"""When, the how-manieth plan, whose; the packet to be released, or None for a wake."""


class Agenda:
    """A queue by time that costs no sorting while times only grow.

    Most policies plan each packet later than the one before; those entries go to a
    FIFO. Only what is planned earlier than the FIFO's end goes to a heap.
    """

    def __init__(self) -> None:
        self._fifo: deque[Entry] = deque()
        self._heap: list[Entry] = []
        self._order = 0

    def __len__(self) -> int:
        return len(self._fifo) + len(self._heap)

    def add(self, at: int, seat: Seat, packet: Packet | None) -> int:
        """Plan something; returns the number of the entry."""
        self._order += 1
        entry = (at, self._order, seat, packet)
        if not self._fifo or at >= self._fifo[-1][0]:
            self._fifo.append(entry)
        else:
            heappush(self._heap, entry)
        return self._order

    def add_far(self, at: int, seat: Seat, packet: Packet | None) -> int:
        """Plan something far off, such as a time-out, which would send all that comes before it to the heap."""
        self._order += 1
        heappush(self._heap, (at, self._order, seat, packet))
        return self._order

    def first(self) -> Entry | None:
        """The earliest entry, left in place."""
        if not self._heap:
            return self._fifo[0] if self._fifo else None
        if not self._fifo or self._heap[0] < self._fifo[0]:
            return self._heap[0]
        return self._fifo[0]

    def pop(self) -> Entry:
        """Take the earliest entry.

        Raises:
            IndexError: the agenda is empty.
        """
        if self._heap and (not self._fifo or self._heap[0] < self._fifo[0]):
            return heappop(self._heap)
        return self._fifo.popleft()
