"""The whole story of a packet or of a call, a line each, for a figure that can be explored."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

from shaper.journal import Record, names_of
from shaper.report.blocking import SHAPER, Blocking, because_each, call_name, packet_name
from shaper.report.holds import holds
from shaper.report.traffic import Traffic
from shaper.units import ms


class PacketStories:
    """Tells of packets: held by whom, for how long, because of what, and what that did.

    Args:
        records: all of the run.
        origin: of the times in stories, in ns.
        blockings: the calls that waited.
    """

    def __init__(self, records: Sequence[Record], origin: int, blockings: Iterable[Blocking]) -> None:
        self._origin = origin
        self._traffic = Traffic(records)
        self._names = dict(zip((record.id for record in records), names_of(records), strict=True))
        self._again = {}
        for record in records:
            earlier = self._traffic.along(record).earlier_copy(record)
            if earlier is not None:
                self._again[earlier.id] = record
        self._ended: dict[int, list[Blocking]] = {}
        self._causes: dict[int, str] = {}
        for blocking in blockings:
            chain = list(dict.fromkeys((held.packet, held.kind) for held in blocking.held))
            if chain:
                self._ended.setdefault(chain[0][0], []).append(blocking)
            for (packet, _), (cause, kind) in pairwise(chain):
                self._causes[packet] = packet_name(kind, cause)

    def of(self, record: Record) -> tuple[str, ...]:
        """The lines of this packet's story."""
        return tuple(self._lines(record))

    def _lines(self, record: Record) -> Iterable[str]:
        name = self._names.get(record.id)
        number = f"packet #{record.id}" if record.id else f"made by {record.by}"
        yield number if name is None else f"{number}: {name}"
        client = self._traffic.is_clients(record)
        yield f"{record.length} bytes{f', {record.flags}' if record.flags else ''}, {record.flow}"
        yield f"sent by the {'client' if client else 'server'} at {self._at(record.arrived)}"
        if (earlier := self._traffic.along(record).earlier_copy(record)) is not None:
            yield f"a retransmission of the packet sent at {self._at(earlier.arrived)}"
        if record.id in self._causes:
            yield f"sent because {self._causes[record.id]} had come"
        for hold in holds(record):
            if hold.policy != SHAPER:
                yield f"held by {hold.policy} for {(hold.end - hold.start) / ms:.1f} ms, until {self._at(hold.end)}"
        if record.fate == "dropped":
            yield f"dropped by {record.by or 'a policy'} at {self._at(record.begin)}"
        else:
            yield f"went on to the {'server' if client else 'client'} at {self._at(record.begin)}"
        if record.id in self._again:
            yield f"sent again at {self._at(self._again[record.id].arrived)}"
        for blocking in self._ended.get(record.id, ()) if record.id else ():
            who = blocking.role or f"{blocking.task}[{blocking.tid}]"
            yield f"ended {call_name(blocking)} of {who}, which had waited {blocking.duration / ms:.1f} ms"

    def _at(self, time: int) -> str:
        return f"{(time - self._origin) / ms:.1f} ms"


def call_story(blocking: Blocking, origin: int, *, hidden: bool = False) -> tuple[str, ...]:
    """The lines of a call's story; times are since the origin (ns).

    Args:
        hidden: netem hides this wait.
    """
    fd = "" if blocking.fd is None else f", file descriptor {blocking.fd}"
    start, end = ((time - origin) / ms for time in (blocking.start, blocking.end))
    lines = [
        f"{blocking.role} {blocking.task}[{blocking.tid}]{fd}".strip(),
        *([blocking.file] if blocking.file else []),
        f"from {start:.1f} ms to {end:.1f} ms: {blocking.duration / ms:.1f} ms",
    ]
    if blocking.waited_for:
        lines.append(f"waited for: {blocking.waited_for}")
    if not blocking.ended:
        lines.append("still blocked at the end")
    elif blocking.waker is not None:
        lines.append(f"woken by {blocking.waker}")
    lines += because_each(blocking)
    if blocking.timeouts:
        lines.append(f"made {blocking.timeouts + 1} times")
    if hidden:
        lines.append("does not wait under netem")
    return tuple(lines)
