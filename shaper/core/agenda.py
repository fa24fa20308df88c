"""The agenda: what is planned, ordered by time, then by when it was planned."""

from collections import deque
from collections.abc import Iterator
from heapq import heapify, heappop, heappush
from typing import cast

from shaper.core.instances import NEVER, PolicyInstance
from shaper.core.train import Part, Train
from shaper.wire.packet import Packet

Entry = tuple[int, int, PolicyInstance, Packet | None]
"""The time (ns), the plan's number, the instance it belongs to; the packet to release, or None for a wake."""

Single = Entry | Packet
"""A packet that has its time, number and instance itself takes no entry, which saves 140 bytes."""

Planned = Single | Train
"""What the FIFO has. To all others, a train that is met becomes packets."""

TOO_MANY_REPLACED = 1 << 16
"""Once more entries than this were replaced by later plans, they are removed before their time."""


class Agenda:
    """A queue by time that needs no sorting while times only grow.

    Most policies plan each packet later than the one before. Such entries go to a FIFO; only
    what is planned for an earlier time than the FIFO's end goes to a heap. A packet in the FIFO keeps its plan.

    Attributes:
        earliest: the time of the first entry (ns), NEVER if there is none.
    """

    __slots__ = ("_fifo", "_heap", "_last", "_order", "_replaced", "earliest")

    def __init__(self) -> None:
        self._fifo: deque[Planned] = deque()
        self._heap: list[Entry] = []
        self._last = 0  # the time of the FIFO's end
        self._order = 0
        self._replaced = 0
        self.earliest = NEVER

    def __len__(self) -> int:
        return len(self._fifo) + len(self._heap)

    def add(self, at: int, instance: PolicyInstance, packet: Packet | None) -> int:
        """Plan a wake, or the release of a packet that the instance holds, at a time (ns); returns its number."""
        self._order = order = self._order + 1
        if at >= self._last or not self._fifo:
            self._last = at
            if packet is None:
                self._fifo.append((at, order, instance, None))
            else:
                root = packet.origin or packet
                root.due, root.plan = at, order
                self._fifo.append(packet)
        else:
            heappush(self._heap, (at, order, instance, packet))
        if at < self.earliest:
            self.earliest = at
        return order

    def add_far(self, at: int, instance: PolicyInstance, packet: Packet | None) -> int:
        """As `add`, for a time far off, such as a timeout: in the FIFO it would send all earlier plans to the heap."""
        self._order = order = self._order + 1
        heappush(self._heap, (at, order, instance, packet))
        if at < self.earliest:
            self.earliest = at
        return order

    def takes_trains(self, at: int) -> bool:
        """Whether a train may be planned whose first packet is due at this time (ns): nothing is for a later one."""
        return not self._heap and (not self._fifo or at >= self._last)

    def add_train(self, train: Train) -> None:
        """Plan the release of a train's packets; only if it `takes_trains`."""
        train.plan = self._order + 1
        self._order += len(train)
        self._last = train.due(len(train) - 1)
        self._fifo.append(train)
        self.earliest = min(self.earliest, train.due(0))

    def take_trains(self, now: int) -> list[Part]:
        """Remove and return the packets of trains that are due by `now` (ns), up to the first other entry."""
        parts: list[Part] = []
        fifo = self._fifo
        while self.earliest <= now and not self._heap:
            first = fifo[0]
            # After a change, packets may have to wait for others of their flow.
            if not isinstance(first, Train) or first.state.turns is not None:
                break
            begin = first.gone
            first.gone = first.due_by(now)
            parts.append(Part(first, begin, first.gone))
            if not len(first):
                fifo.popleft()
            self.earliest = time_of(fifo[0]) if fifo else NEVER
        return parts

    def _break_up(self) -> None:
        """If a train is first in the FIFO, make packets of it."""
        first = self._fifo[0]
        if isinstance(first, Train):
            self._fifo.popleft()
            self._fifo.extendleft(reversed(first.packets()))

    def _break_up_all(self) -> None:
        planned: list[Planned] = []
        for each in self._fifo:
            if isinstance(each, Train):
                planned += each.packets()
            else:
                planned.append(each)
        self._fifo.clear()
        self._fifo.extend(planned)

    def note_replaced(self) -> None:
        """Count an entry that a later plan has replaced; without a bound, such entries could fill the memory."""
        self._replaced += 1
        if self._replaced > TOO_MANY_REPLACED:
            self._purge()

    def _purge(self) -> None:
        """Remove all entries that later plans have replaced."""
        self._replaced = 0
        valid = [planned for planned in self._fifo if isinstance(planned, Train) or is_valid(entry_of(planned))]
        self._fifo.clear()
        self._fifo.extend(valid)
        self._heap[:] = filter(is_valid, self._heap)
        heapify(self._heap)
        self._look()

    def entries(self) -> Iterator[Entry]:
        """The valid entries, in no particular order."""
        self._break_up_all()
        for planned in self._fifo:
            entry = entry_of(cast(Single, planned))
            if is_valid(entry):
                yield entry
        yield from filter(is_valid, self._heap)

    def take_packets(self) -> list[tuple[PolicyInstance, Packet]]:
        """Remove all packets, each with the instance that holds it, in no particular order; wakes stay planned."""
        taken = []
        for _, _, instance, packet in self.entries():
            if packet is not None:
                taken.append((instance, packet))
        for _, packet in taken:
            packet.root.plan = 0
        self._purge()
        return taken

    def first(self) -> Entry | None:
        """The earliest entry, which stays; None without one."""
        heap = self._heap
        if not self._fifo:
            return heap[0] if heap else None
        self._break_up()
        entry = entry_of(cast(Single, self._fifo[0]))
        return heap[0] if heap and heap[0] < entry else entry

    def pop(self) -> Entry:
        """Remove and return the earliest entry.

        Raises:
            IndexError: the agenda is empty.
        """
        heap, fifo = self._heap, self._fifo
        if fifo:
            self._break_up()
        if heap:
            is_first = not fifo or heap[0] < entry_of(cast(Single, fifo[0]))
            entry = heappop(heap) if is_first else entry_of(cast(Single, fifo.popleft()))
            self._look()
        else:
            entry = entry_of(cast(Single, fifo.popleft()))
            self.earliest = time_of(fifo[0]) if fifo else NEVER
        return entry

    def pop_packet(self) -> Packet | None:
        """Remove and return the packet of the earliest entry, if it needs no entry of its own; else change nothing."""
        fifo = self._fifo
        if self._heap or not fifo:
            return None
        self._break_up()
        first = fifo[0]
        if not isinstance(first, Packet):
            return None
        fifo.popleft()
        self.earliest = time_of(fifo[0]) if fifo else NEVER
        return first

    def next_time(self) -> int | None:
        """The time of the earliest valid entry (ns), None without one; replaced entries before it are removed."""
        if not self._heap and self._fifo and isinstance(self._fifo[0], Packet | Train):
            return self.earliest  # no later plan ever replaces that of these
        while entry := self.first():
            if is_valid(entry):
                return entry[0]
            self.pop()
        return None

    def _look(self) -> None:
        fifo, heap = self._fifo, self._heap
        earliest = time_of(fifo[0]) if fifo else NEVER
        self.earliest = min(earliest, heap[0][0]) if heap else earliest


def entry_of(planned: Single) -> Entry:
    """What the FIFO has, as an entry."""
    if not isinstance(planned, Packet):
        return planned
    root = planned.origin or planned
    return root.due, root.plan, cast(PolicyInstance, root.holder), planned


def time_of(planned: Planned) -> int:
    """The time of what the FIFO has, in ns."""
    if isinstance(planned, Train):
        return planned.due(planned.gone)
    return (planned.origin or planned).due if isinstance(planned, Packet) else planned[0]


def is_valid(entry: Entry) -> bool:
    """Whether no later plan has replaced this entry."""
    _, number, instance, packet = entry
    # A packet in the FIFO has no other number than its own, which is 0 once it was taken away.
    return number == (instance.plan if packet is None else (packet.origin or packet).plan) > 0
