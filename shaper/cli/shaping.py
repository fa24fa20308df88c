"""Options of the commands that shape live traffic."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from shaper.cli.options import duration
from shaper.errors import UsageError
from shaper.live import choices
from shaper.live.front.balance import MOST, workers_for
from shaper.policy.base import Policy
from shaper.spec import match
from shaper.units import format_duration, ms, parse_count, parse_range, s

if TYPE_CHECKING:
    from shaper.live.settings import Capture, Settings
    from shaper.places.place import Place

Interfaces = Annotated[
    list[str] | None,
    typer.Option(
        "--interface",
        metavar="NAME[,NAME…]",
        help="Shape packets on these interfaces, whichever way they go; `any` stands for all. [default: lo]",
    ),
]
Hooks = Annotated[
    list[str] | None,
    typer.Option(
        "--hook",
        metavar="HOOK[,HOOK…]",
        help="Shape only packets that come in (input), go out (output), or are forwarded (forward). "
        "[default: all of these, on lo input]",
    ),
]
Protocol = Annotated[match.Protocol, typer.Option(help="Shape only packets of this protocol; icmp includes ICMPv6.")]
Ports = Annotated[
    list[str] | None,
    typer.Option(
        "--port",
        metavar="PORT[,PORT…]",
        help="Shape only TCP and UDP packets from or to these ports: numbers, or names such as http. May be repeated.",
    ),
]
Source = Annotated[str | None, typer.Option(metavar="ADDRESS", help="Shape only packets from this host or network.")]
Destination = Annotated[str | None, typer.Option(metavar="ADDRESS", help="Shape only packets to this host or network.")]
Host = Annotated[
    str | None, typer.Option(metavar="ADDRESS", help="Shape only packets from or to this host or network.")
]
Filter = Annotated[
    str | None,
    typer.Option("--filter", metavar="EXPRESSION", help="Shape only packets that match this tcpdump expression."),
]
Netns = Annotated[
    str | None,
    typer.Option(
        metavar="NAME|PID", help="Work in this network namespace: one of `ip netns list`, or that of a process."
    ),
]
Container = Annotated[
    str | None,
    typer.Option(
        metavar="NAME|ID",
        help="Work in the network namespace of this container: Docker's, Podman's, or one of a CRI.",
    ),
]
Pid = Annotated[int | None, typer.Option(metavar="N", min=1, help="Work in the network namespace of this process.")]
Cgroup = Annotated[
    str | None, typer.Option(metavar="PATH", help="Shape only packets of the processes in this control group.")
]
UnitName = Annotated[
    str | None, typer.Option("--unit", metavar="NAME", help="Shape only packets of this unit of systemd.")
]
OnError = Annotated[
    choices.OnError,
    typer.Option(help="When a policy fails: stop shaping, or let packets bypass that policy."),
]
JournalFile = Annotated[
    Path | None,
    typer.Option("--journal", metavar="FILE", help="Write what happened to each packet, as JSON lines."),
]
CaptureFile = Annotated[
    Path | None,
    typer.Option(
        "--pcap",
        metavar="FILE",
        help="Write a pcapng capture with each packet twice: as it came, and as it went on; "
        "Wireshark takes the second one for a retransmission.",
    ),
]
ArrivedFile = Annotated[
    Path | None,
    typer.Option("--pcap-arrived", metavar="FILE", help="Write a pcapng capture of the packets as they came."),
]
SentFile = Annotated[
    Path | None,
    typer.Option("--pcap-sent", metavar="FILE", help="Write a pcapng capture of the packets as they went on."),
]
WATCHDOG = 1 * s
AUTO = 0
"""This number of workers stands for `--workers auto`."""
T = TypeVar("T")


def place_of(
    *,
    netns: str | None = None,
    container: str | None = None,
    pid: int | None = None,
    cgroup: str | None = None,
    unit: str | None = None,
) -> Place | None:
    """The place that one of --netns, --container, --pid, --cgroup and --unit names; None if none is given.

    Raises:
        UsageError: several are given.
        ShaperError: cgroup2 is not mounted.
    """
    from shaper.linux.netns import process_of
    from shaper.places.cgroup import ControlGroup
    from shaper.places.container import Container
    from shaper.places.netns import NamedNamespace
    from shaper.places.process import Process
    from shaper.places.unit import Unit

    given = {"--netns": netns, "--container": container, "--pid": pid, "--cgroup": cgroup, "--unit": unit}
    if len(several := [option for option, value in given.items() if value is not None]) > 1:
        raise UsageError(f"{' and '.join(several)} name several places; give one")
    if netns is not None:
        number = process_of(netns)
        return NamedNamespace(netns) if number is None else Process(number, is_own_allowed=True)
    if container is not None:
        return Container(container)
    if pid is not None:
        return Process(pid)
    if cgroup is not None:
        return ControlGroup(cgroup)
    return Unit(unit) if unit is not None else None


def captures(both: Path | None, arrived: Path | None, sent: Path | None) -> tuple[Capture, ...]:
    """The captures of --pcap, --pcap-arrived and --pcap-sent.

    Raises:
        UsageError: two of them are one file.
    """
    from shaper.capture.write import INTERFACES
    from shaper.live.settings import Capture

    asked = ((both, INTERFACES), (arrived, ("arrived",)), (sent, ("sent",)))
    found = tuple(Capture(path, interfaces) for path, interfaces in asked if path is not None)
    if len({path.resolve() for path, _ in found}) < len(found):
        raise UsageError("--pcap, --pcap-arrived and --pcap-sent each need a file of their own")
    return found


def worker_count(text: str | int) -> int:
    """Parse the value of --workers: a number, or `auto`, which is `AUTO`."""
    if isinstance(text, int):
        return text
    if text == "auto":
        return AUTO
    with suppress(ValueError):
        if 1 <= (count := parse_count(text)) <= MOST:
            return count
    raise typer.BadParameter(f"'{text}' is neither a number from 1 to {MOST} nor auto")


def automatic_workers(settings: Settings, cpus: Sequence[int]) -> int:
    """What `--workers auto` means: one for each CPU of --cpu, else as many as `workers_for` says.

    One where several would do something else, or nothing more: --journal and the like, a policy with scope=queue, and
    lo alone, where most packets have the same two addresses.

    Raises:
        UsageError: the rule is the user's own.
    """
    from shaper.linux.cpus import usable

    if not settings.install_rules:
        raise UsageError("--no-rules needs a number for --workers: that of the queues in your own rule")
    if cpus:
        return len(cpus)
    if _needs_one(settings) or _one_per_worker(settings) or settings.match.interfaces == ("lo",):
        return 1
    return workers_for(usable())


def _needs_one(settings: Settings) -> bool:
    """Whether all packets have to go through one worker."""
    return bool(settings.captures) or (settings.journal, settings.marks) != (None, None)


def _one_per_worker(settings: Settings) -> list[str]:
    """The policies that would be one object per worker, rather than one for all packets."""
    return [
        policy.name
        for policy in settings.all_policies
        if policy.scope == "queue" and type(policy).on_packet is not Policy.on_packet
    ]


def check_workers(settings: Settings, workers: int) -> None:
    """Check that several workers can do this, and print how their result differs from that of one.

    Raises:
        UsageError: they can't.
    """
    if workers == 1:
        return
    if _needs_one(settings):
        raise UsageError("--journal, --pcap and --trace-marker write one file for all packets; use --workers 1")
    for name in _one_per_worker(settings):
        print(
            f"shaper: {name}: scope=queue is one object per worker; use --workers 1 to have one for all",
            file=sys.stderr,
        )


def interfaces_of(given: list[str] | None) -> tuple[str, ...]:
    """The interfaces of all --interface together; lo if there is none.

    Raises:
        UsageError: not interfaces.
    """
    return tuple(_listed("--interface", given, match.parse_interfaces)) or ("lo",)


def hooks_of(given: list[str] | None) -> tuple[match.Hook, ...]:
    """The hooks of all --hook together; all hooks if there is none.

    Raises:
        UsageError: not hooks.
    """
    return tuple(_listed("--hook", given, match.parse_hooks)) or match.HOOKS


def ports_of(given: list[str] | None) -> tuple[int, ...]:
    """The ports of all --port together.

    Raises:
        UsageError: not ports.
    """
    return tuple(_listed("--port", given, match.parse_ports))


def _listed(option: str, given: list[str] | None, parse: Callable[[str], list[T]]) -> list[T]:
    """The items of an option that is a list and may be repeated, each once."""
    try:
        return list(dict.fromkeys(item for text in given or () for item in parse(text)))
    except ValueError as error:
        raise UsageError(f"{option}: {error}") from None


def patience(text: str | int) -> int:
    """Parse the value of --watchdog, in ns."""
    value = duration(text)
    if value < 100 * ms:
        raise typer.BadParameter(
            f"'{text}' is too short to tell a hanging shaper from a busy machine; give at least 100ms"
        )
    return value


def cpu_list(text: str) -> list[int]:
    """Parse a list of CPUs as taskset(1) takes it: 0,2 or 0-3.

    Raises:
        UsageError: it is not a list of CPUs, or names one that this machine doesn't have.
    """
    usable = sorted(os.sched_getaffinity(0))
    end = max(os.sysconf("SC_NPROCESSORS_CONF"), usable[-1] + 1)
    cpus: list[int] = []
    for part in text.split(","):
        try:
            first, last = parse_range(part.strip())
        except ValueError:
            raise UsageError(f"'{text}' is not a list of CPUs, such as 1, 0,2 or 0-3") from None
        if last >= end:
            raise UsageError(f"there is no CPU {last} to run on here; there are {', '.join(map(str, usable))}")
        cpus += range(first, last + 1)
    return cpus


Watchdog = Annotated[
    int,
    typer.Option(
        metavar="TIME",
        parser=patience,
        show_default=False,
        help="If shaper hangs for this long, its guardian lets all packets go on. "
        f"[default: {format_duration(WATCHDOG)}]",
    ),
]
