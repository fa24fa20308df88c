"""Classes of packets: what kind, in which direction, to which service, and if asked, which one in its connection."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from shaper.journal import Record
from shaper.units import format_duration
from shaper.wire.flow import Flow

MOST = 4
"""Data segments of a flow that are classes of their own; those after them are one class."""
LAST = 10**9
End = tuple[str, int]


class PacketClass(NamedTuple):
    """The packets that are late together.

    Attributes:
        service: "tcp/8000"; "icmp" where there are no ports.
        direction: "original", from the one that opened the connection, or "reply".
        kind: a segment class.
        nth: which of its kind in its flow, as the option `nth` of `late` has it; empty for all.
    """

    service: str
    direction: str
    kind: str
    nth: str = ""

    def __str__(self) -> str:
        which = "" if not self.nth else f" {self.nth.split('-')[0]}{' …' if '-' in self.nth else ''}"
        return f"{self.service} {self.direction} {self.kind}{which}"

    def spec(self, time: int, order: str) -> str:
        """The SPEC of a policy that makes these packets late by this time (ns)."""
        port = self.service.partition("/")[2]
        options = [f"time={format_duration(time)}", f"classes={self.kind}", f"direction={self.direction}"]
        options += [f"order={order}", *([f"port={port}"] if port else []), *([f"nth={self.nth}"] if self.nth else [])]
        return f"late:{','.join(options)}"


class Classifier:
    """Finds the class of each packet of a journal; asked in the order of arrival.

    Args:
        split: data segments are counted in each flow.
    """

    def __init__(self, *, split: bool = False) -> None:
        self._split = split
        self._openers: dict[frozenset[End], End] = {}
        self._counts: Counter[Flow] = Counter()

    def __call__(self, record: Record) -> PacketClass:
        """The class of the next packet."""
        flow = record.flow
        sender, receiver = (flow.source, flow.sport), (flow.destination, flow.dport)
        first = receiver if record.kind == "synack" else sender
        opener = self._openers.setdefault(frozenset((sender, receiver)), first)
        if record.kind == "syn":
            opener = self._openers[frozenset((sender, receiver))] = sender
        is_original = sender == opener
        port = (receiver if is_original else sender)[1]
        service = f"{flow.protocol}/{port}" if flow.protocol in ("tcp", "udp") else flow.protocol
        nth = ""
        if self._split and record.kind in ("data", "udp"):
            self._counts[flow] += 1
            nth = str(self._counts[flow]) if self._counts[flow] <= MOST else f"{MOST + 1}-{LAST}"
        return PacketClass(service, "original" if is_original else "reply", record.kind, nth)


def classify(records: Iterable[Record], *, split: bool = False) -> dict[int, PacketClass]:
    """The class of each packet that came, by its id."""
    classifier = Classifier(split=split)
    arrived = sorted((record for record in records if record.id), key=lambda record: record.id)
    return {record.id: classifier(record) for record in arrived}
