"""The agenda: what is planned, by time, then in the order in which it was planned."""

from collections import deque
from heapq import heapify, heappop, heappush

from shaper.core.instances import NEVER, PolicyInstance
from shaper.wire.packet import Packet

Entry = tuple[int, int, PolicyInstance, Packet | None]
"""When, the how-manieth plan, whose; the packet to be released, or None for a wake."""

TOO_MANY_REPLACED = 1 << 16
"""So many entries of the agenda, replaced by later plans, may wait for their time before they are given up."""


class Agenda:
    """A queue by time that costs no sorting while times only grow.

    Most policies plan each packet later than the one before; those entries go to a
    FIFO. Only what is planned earlier than the FIFO's end goes to a heap.

    Attributes:
        earliest: the time of the first entry, NEVER if there is none.
    """

    __slots__ = ("_fifo", "_heap", "_last", "_order", "_replaced", "earliest")

    def __init__(self) -> None:
        self._fifo: deque[Entry] = deque()
        self._heap: list[Entry] = []
        self._last = 0  # the time of the FIFO's end
        self._order = 0
        self._replaced = 0
        self.earliest = NEVER

    def __len__(self) -> int:
        return len(self._fifo) + len(self._heap)

    def add(self, at: int, instance: PolicyInstance, packet: Packet | None) -> int:
        """Plan something; returns its number."""
        self._order = order = self._order + 1
        if at >= self._last or not self._fifo:
            self._last = at
            self._fifo.append((at, order, instance, packet))
        else:
            heappush(self._heap, (at, order, instance, packet))
        if at < self.earliest:
            self.earliest = at
        return order

    def add_far(self, at: int, instance: PolicyInstance, packet: Packet | None) -> int:
        """Plan something far off, such as a time-out, which would send all that comes before it to the heap."""
        self._order = order = self._order + 1
        heappush(self._heap, (at, order, instance, packet))
        if at < self.earliest:
            self.earliest = at
        return order

    def note_replaced(self) -> None:
        """An entry will never happen. Without an end to their number memory would have none."""
        self._replaced += 1
        if self._replaced > TOO_MANY_REPLACED:
            self._purge()

    def _purge(self) -> None:
        """Give up all entries that later plans have replaced."""
        self._replaced = 0
        standing = [entry for entry in self._fifo if stands(entry)]
        self._fifo.clear()
        self._fifo.extend(standing)
        self._heap[:] = filter(stands, self._heap)
        heapify(self._heap)
        self._look()

    def first(self) -> Entry | None:
        """The earliest entry, left in place."""
        heap, fifo = self._heap, self._fifo
        if not heap:
            return fifo[0] if fifo else None
        return heap[0] if not fifo or heap[0] < fifo[0] else fifo[0]

    def pop(self) -> Entry:
        """Take the earliest entry.

        Raises:
            IndexError: the agenda is empty.
        """
        heap, fifo = self._heap, self._fifo
        if heap:
            entry = heappop(heap) if not fifo or heap[0] < fifo[0] else fifo.popleft()
            self._look()
        else:
            entry = fifo.popleft()
            self.earliest = fifo[0][0] if fifo else NEVER
        return entry

    def due(self, now: int) -> Entry | None:
        """Take the earliest entry that stands, if its time has come by `now` (ns); those before it are given up."""
        while self.earliest <= now:
            entry = self.pop()
            if stands(entry):
                return entry
        return None

    def next_time(self) -> int | None:
        """The time (ns) of the earliest entry that stands, None without one; those before it are given up."""
        while entry := self.first():
            if stands(entry):
                return entry[0]
            self.pop()
        return None

    def _look(self) -> None:
        entry = self.first()
        self.earliest = entry[0] if entry else NEVER


def stands(entry: Entry) -> bool:
    """Whether an entry is still to happen: no later plan replaced it."""
    at, number, instance, packet = entry
    return instance.wake == at if packet is None else (packet.origin or packet).plan == number
