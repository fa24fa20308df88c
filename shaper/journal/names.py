"""The names of a journal's packets."""

from __future__ import annotations

from collections.abc import Sequence

from shaper.journal.line import Record
from shaper.wire.naming import Namer, PacketName


def names_of(records: Sequence[Record], *, services: bool = True) -> list[PacketName | None]:
    """The names of these packets, in the order given; None for a packet that a policy made.

    Args:
        records: all of one run, in any order: packets are named in the order of their arrival.
        services: whether the names have services; without them, all connections are counted.
    """
    namer = Namer()
    taken = sorted((record.id, index) for index, record in enumerate(records) if record.id)
    found: list[PacketName | None] = [None] * len(records)
    for _, index in taken:
        record = records[index]
        found[index] = namer.names(record.flow, record.kind, record.seq)[0 if services else 1]
    return found
