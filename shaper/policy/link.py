"""Link: how long a packet takes on a link of a limited rate, as in netem.

Source: packet_time_ns() in the kernel's net/sched/sch_netem.c.
"""

from __future__ import annotations

from typing import NamedTuple

from shaper.units import s


class Link(NamedTuple):
    """A link, and what it adds to each packet.

    Attributes:
        rate: bits per second, above 0.
        overhead: bytes added to the length of each packet; may be negative.
        cell: bytes of payload in each of the cells into which packets are cut; 0: no cells.
        cell_overhead: bytes added to each cell; may be negative.
    """

    rate: int
    overhead: int = 0
    cell: int = 0
    cell_overhead: int = 0

    def time_for(self, length: int) -> int:
        """How long a packet of this length takes on the link, in ns."""
        length = max(0, length + self.overhead)
        if self.cell:
            length = -(-length // self.cell) * max(0, self.cell + self.cell_overhead)
        return length * 8 * s // self.rate
