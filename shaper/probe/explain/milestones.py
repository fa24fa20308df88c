"""Milestones: when a run's connection was opened, carried its first data and was closed; in ns since connect."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from statistics import median, mode
from typing import Any, NamedTuple

from shaper.probe.ends.account import Call
from shaper.probe.ends.run import ProbeRun
from shaper.probe.explain.needs import Need, Needs
from shaper.report.blocking import LABELS
from shaper.report.traffic import Traffic
from shaper.units import ms

NAMES = (
    "connected_minus_connect_ms",
    "accept_return_minus_connect_ms",
    "first_data_minus_connect_ms",
    "closed_minus_connect_ms",
)


class Milestones(NamedTuple):
    """When each point of a run was reached, in ns since the client called connect; None where it was not.

    Attributes:
        connected: the client's connect, or the select after it, returned.
        accepted: the server's accept returned.
        first_data: the server had read its first data.
        closed: the client's last call returned.
        completed_by: the packet that completed the handshake for the server: "ACK" or "data"; None if not known.
    """

    connected: int | None
    accepted: int | None
    first_data: int | None
    closed: int | None
    completed_by: str | None


def milestones(run: ProbeRun) -> Milestones:
    """The milestones of a run; all None if its client called no connect."""
    entry = next((call.start for call in run.calls("client") if call.syscall == "connect"), None)
    if entry is None:
        return Milestones(None, None, None, None, None)
    traffic = Traffic(run.records)
    client, server = (Needs(run.calls(role), traffic).of for role in ("client", "server"))
    waker = next((need.waker for call, need in server if call.syscall == "accept4"), None)

    def first(needs: list[tuple[Call, Need]], fits: Callable[[Call, Need], bool]) -> int | None:
        return next((call.end - entry for call, need in needs if not call.error and fits(call, need)), None)

    return Milestones(
        connected=first(client, lambda call, need: need.what == "handshake"),
        accepted=first(server, lambda call, need: call.syscall == "accept4"),
        first_data=first(server, lambda call, need: call.syscall == "recvfrom" and need.what == "data"),
        closed=run.calls("client")[-1].end - entry,
        completed_by=None if waker is None else LABELS.get(waker.kind, waker.kind),
    )


def middle(all_of: Iterable[Milestones]) -> Milestones:
    """The median of each milestone, and the packet that completed the handshake most often."""
    found = list(all_of)

    def median_of(name: str) -> int | None:
        reached = [value for each in found if (value := getattr(each, name)) is not None]
        return round(median(reached)) if reached else None

    by = [each.completed_by for each in found if each.completed_by is not None]
    connected, accepted, first_data, closed = map(median_of, Milestones._fields[:4])
    return Milestones(connected, accepted, first_data, closed, mode(by) if by else None)


def as_json(reached: Milestones) -> dict[str, Any]:
    """The entry `milestones` of a document; times in ms."""
    times = zip(NAMES, reached[:4], strict=True)
    return {
        **{name: None if value is None else value / ms for name, value in times},
        "handshake_completed_by": reached.completed_by,
    }
