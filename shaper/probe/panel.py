"""A run as a panel of the figure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

from shaper.journal import Record
from shaper.probe.blockings import blockings
from shaper.probe.causes import Causes
from shaper.probe.chain import holds
from shaper.probe.comparison import Comparison
from shaper.probe.milestones import milestones
from shaper.probe.run import Run
from shaper.probe.traffic import Traffic
from shaper.report.blocking import LABELS, Blocking
from shaper.report.figure import Arrow, Bar, Kind, Panel
from shaper.units import ms

KINDS: dict[str, Kind] = {
    "syn": "handshake", "synack": "handshake",
    "handshake-ack": "ack", "pure-ack": "ack", "dup-ack": "ack", "window-update": "ack",
    "data": "data", "udp": "data", "fin": "end", "rst": "end",
}  # fmt: skip
# What people call them, as C libraries and manuals do.
CALLS = {"accept4": "accept", "pselect6": "select", "recvfrom": "recv", "sendto": "send"}


def panel(
    title: str, run: Run, waited: Collection[Blocking], *, hidden: Collection[Blocking] = (), note: str = ""
) -> Panel:
    """The run's blockings and packets; times are ms since the client's first call.

    Args:
        hidden: those of the blockings that netem does not show.
    """

    def at(time: int) -> float:
        return (time - run.began) / ms

    bars = [
        Bar(
            "server" if blocking.role == "server" else "client",
            max(0.0, at(blocking.start)),
            at(blocking.end),
            f"{name(blocking)} {(blocking.duration - blocking.before_client) / ms:.1f} ms",
            hidden=blocking in hidden,
        )
        for blocking in waited
    ]
    causes = Causes(run.accounts, run.records)
    client = next((sender for sender in causes.senders if sender.role == "client"), None)

    def arrow(record: Record) -> Arrow:
        spans = holds(record)
        return Arrow(
            "client" if client is not None and client.flow_of(record) is not None else "server",
            at(record.arrived),
            at(record.begin),
            label(record, causes.traffic),
            KINDS.get(record.segment, "other"),
            dropped=record.fate == "dropped",
            steps=tuple(at(span.until) for span in spans[:-1]),
        )

    return Panel(
        title, bars, [arrow(record) for record in sorted(run.records, key=lambda record: record.arrived)], note
    )


def panels(comparison: Comparison) -> list[Panel]:
    """A panel for each condition of a comparison: its typical run."""
    drawn = []
    hidden = {(row.role, row.syscall, row.nth) for row in comparison.rows if row.hidden}
    for column in comparison.columns:
        run = sorted(column.runs, key=lambda run: milestones(run).closed or 0)[(len(column.runs) - 1) // 2]
        found, marked = blockings(run, threshold=0), []
        counts: Counter[tuple[str, str]] = Counter()
        for blocking in found:
            counts[blocking.role, blocking.syscall] += 1
            if (blocking.role, blocking.syscall, counts[blocking.role, blocking.syscall]) in hidden:
                marked.append(blocking)
        waited = [blocking for blocking in found if blocking.duration - blocking.before_client >= comparison.threshold]
        note = str(column.condition) if run.records or column.condition.netem else ""
        drawn.append(panel(column.condition.name, run, waited, hidden=marked, note=note))
    return drawn


def name(blocking: Blocking) -> str:
    """Its system call, as people call it."""
    return CALLS.get(blocking.syscall, blocking.syscall)


def label(record: Record, traffic: Traffic) -> str:
    """The packet by its flags and size: "SYN-ACK", "PSH 6 B"."""
    if record.segment in ("data", "udp"):
        size = traffic.size(record)
        word = "PSH" if "P" in record.flags else "UDP" if record.segment == "udp" else "data"
        return word if size is None else f"{word} {size} B"
    return LABELS.get(record.segment, record.segment)
