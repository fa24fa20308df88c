"""Options of the commands that shape live traffic."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shaper.cli.options import duration
from shaper.errors import UsageError
from shaper.live import choices
from shaper.policy.base import Policy
from shaper.spec import match
from shaper.units import format_duration, ms, s

if TYPE_CHECKING:
    from shaper.live.settings import Settings

Protocol = Annotated[match.Protocol, typer.Option(help="Shape this protocol only; icmp is ICMPv6 too.")]
Ports = Annotated[
    list[int] | None,
    typer.Option("--port", metavar="N", help="Shape this TCP and UDP port only, at either end; may be repeated."),
]
Source = Annotated[str | None, typer.Option(metavar="ADDRESS", help="Shape what comes from this host or network.")]
Destination = Annotated[str | None, typer.Option(metavar="ADDRESS", help="Shape what goes to this host or network.")]
Filter = Annotated[
    str | None,
    typer.Option("--filter", metavar="EXPRESSION", help="Shape what this matches, written as for tcpdump."),
]
Netns = Annotated[
    str | None,
    typer.Option(
        metavar="NAME|PID", help="Work in this network namespace: as `ip netns` lists it, or that of a process."
    ),
]
OnError = Annotated[
    choices.OnError,
    typer.Option(help="When a policy fails: stop shaping, or let packets pass by that policy."),
]
JournalFile = Annotated[
    Path | None,
    typer.Option("--journal", metavar="FILE", help="Write what happened to each packet, as JSON lines."),
]
CaptureFile = Annotated[
    Path | None,
    typer.Option("--pcap", metavar="FILE", help="Write a pcapng of the packets as they came and as they went."),
]
WATCHDOG = 1 * s


def check_workers(settings: Settings, workers: int) -> None:
    """Make sure that several workers can do what is asked for, and say what they do otherwise than one.

    Raises:
        UsageError: they can't.
    """
    if workers == 1:
        return
    if (settings.journal, settings.capture, settings.marks) != (None, None, None):
        raise UsageError("--journal, --pcap and --trace-marker write one file for all packets; use --workers 1")
    for policy in settings.policies:
        does_nothing = type(policy).on_packet is Policy.on_packet
        if policy.scope == "queue" and not does_nothing:
            print(
                f"shaper: {policy.name}: scope=queue is one object per worker here; --workers 1 has one for all",
                file=sys.stderr,
            )


def patience(text: str | int) -> int:
    """A duration in ns that a busy machine doesn't use up on its own."""
    value = duration(text)
    if value < 100 * ms:
        raise typer.BadParameter(f"'{text}' is too short to tell a hanging shaper from a busy machine; 100ms at least")
    return value


def cpu_list(text: str) -> list[int]:
    """CPUs as taskset(1) takes them: 0,2 or 0-3.

    Raises:
        UsageError: it is no such list.
    """
    cpus: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        if not (first.isdecimal() and (last or first).isdecimal()):
            raise UsageError(f"'{text}' is no list of CPUs; write it as 1, 0,2 or 0-3")
        cpus += range(int(first), int(last or first) + 1)
    return cpus


Watchdog = Annotated[
    int,
    typer.Option(
        metavar="TIME",
        parser=patience,
        show_default=False,
        help="When shaper hangs for so long, its guardian lets all packets go on. "
        f"[default: {format_duration(WATCHDOG)}]",
    ),
]
