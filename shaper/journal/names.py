"""The names of a journal's packets."""

from __future__ import annotations

from collections.abc import Sequence

from shaper.journal.line import Record
from shaper.wire.naming import Namer, PacketName


def names_of(records: Sequence[Record]) -> list[PacketName | None]:
    """The names of these packets, in the order given; None for a packet that a policy made.

    Args:
        records: all of one run, in any order: packets are named in the order of their arrival.
    """
    namer = Namer()
    taken = sorted((record.id, index) for index, record in enumerate(records) if record.id)
    found: list[PacketName | None] = [None] * len(records)
    for _, index in taken:
        record = records[index]
        found[index], _ = namer.names(record.flow, record.kind, record.seq)
    return found
