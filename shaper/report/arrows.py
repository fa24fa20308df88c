"""A journal's packets as arrows of the figure."""

from __future__ import annotations

from collections.abc import Iterable

from shaper.journal import Record
from shaper.report.blocking import LABELS, Blocking
from shaper.report.figure.model import Arrow, Kind
from shaper.report.holds import holds
from shaper.report.story import PacketStories
from shaper.report.traffic import Traffic
from shaper.units import ms

KINDS: dict[str, Kind] = {
    "syn": "handshake", "synack": "handshake",
    "handshake-ack": "ack", "pure-ack": "ack", "dup-ack": "ack", "window-update": "ack",
    "data": "data", "udp": "data", "fin": "end", "rst": "end",
}  # fmt: skip


def arrows(records: Iterable[Record], origin: int, blockings: Iterable[Blocking] = ()) -> list[Arrow]:
    """An arrow for each packet, in the order of their arrival; times are ms since the origin (ns).

    Args:
        blockings: what waited for them.
    """
    records = sorted(records, key=lambda record: record.arrived)
    traffic, stories = Traffic(records), PacketStories(records, origin, blockings)
    return [
        Arrow(
            "client" if traffic.is_clients(record) else "server",
            (record.arrived - origin) / ms,
            (record.begin - origin) / ms,
            label(record, traffic),
            KINDS.get(record.kind, "other"),
            dropped=record.fate == "dropped",
            again=traffic.along(record).earlier_copy(record) is not None,
            steps=tuple((hold.end - origin) / ms for hold in holds(record)[:-1]),
            story=stories.of(record),
        )
        for record in records
    ]


def label(record: Record, traffic: Traffic) -> str:
    """What to write on the arrow: "SYN-ACK", "data 6 B"."""
    word = LABELS.get(record.kind, record.kind)
    size = traffic.size(record) if record.kind in ("data", "udp") else None
    return word if size is None else f"{word} {size} B"
