"""ByteStream: which packet's delivery made which byte readable.

TCP numbers bytes (RFC 9293, section 3.4): a segment begins at its sequence number and
ends where the next segment begins; a FIN takes one number. So the journal's sequence
numbers are enough; it has no sizes of payloads.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from itertools import pairwise

from shaper.journal import Record

WRAP = END = 1 << 32
OPENING = ("syn", "synack")


class ByteStream:
    """The packets of one direction of a TCP connection, as the receiver got them."""

    def __init__(self, records: Iterable[Record]) -> None:
        records = list(records)
        self._first = next((r.seq + 1 for r in records if r.kind in OPENING and r.seq is not None), None)
        # Fragments of segments are data, too, but have no number.
        carriers = [record for record in records if record.kind in ("data", "fin") and record.seq is not None]
        starts = sorted({self.offset(record) for record in carriers})
        self._ends = dict(pairwise([*starts, END]))
        self._readable: list[int] = []  # up to which byte, after each delivery that helped
        self._by: list[Record] = []
        self._deliver(sorted((r for r in carriers if r.fate != "dropped"), key=lambda record: record.begin))

    def offset(self, record: Record) -> int:
        """Where its first byte, or its FIN, lies in the stream; the connection's first byte is 0."""
        return ((record.seq or 0) - (self._first or 0)) % WRAP

    def size(self, record: Record) -> int | None:
        """How many bytes it carries; None if no packet after it shows where it ends."""
        start = self.offset(record)
        end = self._ends.get(start, END)
        return None if end == END else end - start

    def readable(self, byte: int) -> Record | None:
        """The packet whose delivery made this byte and all before it readable; None if none did."""
        index = bisect_right(self._readable, byte)
        return self._by[index] if index < len(self._by) else None

    def finished(self) -> Record | None:
        """The packet whose delivery made the end of file readable; None if none did."""
        return self.readable(END - 1)

    def _deliver(self, records: Iterable[Record]) -> None:
        upto, early = 0, dict[int, Record]()
        for record in records:
            early[self.offset(record)] = record
            before = upto
            while (start := next((start for start in early if start <= upto), None)) is not None:
                del early[start]
                upto = max(upto, self._ends[start])
            if upto > before:
                self._readable.append(upto)
                self._by.append(record)
