"""The outcome of a run: counts, losses, holds; as a report and as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from shaper.core.counts import StageUse, dropped_by, touched_nothing
from shaper.core.failure import Failures
from shaper.report.quantiles import Quantiles
from shaper.units import ms

if TYPE_CHECKING:
    from rich.console import Group

VERSION = 1


@dataclass(frozen=True)
class Summary:
    """The counts of one run; those of packets unless another unit is given."""

    taken: int
    """Came from the kernel."""
    sent: int
    """Went on."""
    dropped: int
    """Dropped by policies, or because they were beyond a policy's limit."""
    overflowed: int
    """Those of `dropped` that were beyond a limit."""
    injected: int
    """Made by policies."""
    not_injected: int
    """Those of `injected` that the kernel refused."""
    bypassed: int | None
    """Matched by our rules, but passed unshaped because the queue was full; None if the rules aren't ours."""
    cut_short: int
    """Sent earlier than planned, because of the longest hold allowed."""
    lost_queue_full: int | None
    """Dropped by the kernel because the queue was full; None where it doesn't say."""
    lost_buffer_full: int | None
    """Dropped by the kernel because the socket's buffer was full; None where it doesn't say."""
    lost_to_reload: int
    """Dropped by the kernel while we held them, when other rules were loaded."""
    rules_lost: int
    """How often another program removed our rules."""
    wanted: Quantiles
    """Holds as planned, in ns."""
    actual: Quantiles
    """Holds as they were, in ns."""
    late: Quantiles
    """Actual minus planned departures, in ns."""
    failures: Failures
    """The first failure of each policy, and how many there were."""
    duration: int
    """Of the run, in ns."""
    counters: Mapping[str, Mapping[str, int]]
    """What policies counted themselves, by the names of policy and counter."""
    stages: Mapping[str, StageUse]
    """What each stage of the pipeline did, by its name."""
    interfaces_gone: Mapping[str, int] = field(default_factory=dict)
    """How often each of the interfaces that are shaped went away."""
    uncut: bool = False
    """TCP segments that the sender left uncut were taken whole."""
    connections_left: int | None = None
    """Those that no policy would touch, and that left the queue; None if none may."""
    packets_left: int | None = None
    """Packets of these, since they left; None if none may."""
    allow_bypass: bool = False
    """Bypassed packets are no reason to fail."""

    @property
    def lost(self) -> int:
        """Packets that the kernel dropped because of shaper."""
        return (self.lost_queue_full or 0) + (self.lost_buffer_full or 0) + self.lost_to_reload

    @property
    def touched_nothing(self) -> dict[str, str]:
        """The policies that touched no packet, each with the reason."""
        return touched_nothing(self.stages, self.taken, self.failures)

    def problems(self) -> list[str]:
        """What went wrong, one line each; none if all is well."""
        found = [str(failure) for failure in self.failures]
        if self.lost_queue_full:
            found.append(f"{self.lost_queue_full} packets were lost because the queue was full")
        if self.lost_buffer_full:
            found.append(f"{self.lost_buffer_full} packets were lost because the queue's socket buffer was full")
        if self.lost_to_reload:
            found.append(
                f"{self.lost_to_reload} held packets were lost: another program reloaded the packet filter rules, "
                "or their interface went away"
            )
        if self.bypassed and not self.allow_bypass:
            found.append(f"{self.bypassed} packets passed unshaped: they came faster than they could be taken")
        if self.rules_lost and not self.allow_bypass:
            found.append(f"packets passed unshaped: another program removed shaper's rules, {self.rules_lost} times")
        if self.cut_short:
            found.append(f"{self.cut_short} packets were sent early: a policy planned beyond --max-hold")
        if self.not_injected:
            found.append(f"{self.not_injected} packets that policies made were refused by the kernel")
        return found

    @property
    def status(self) -> int:
        """The exit status: 1 if a policy failed, or packets were lost, bypassed or cut short."""
        return 1 if self.problems() else 0

    def to_json(self) -> dict[str, Any]:
        """The document of `--json`."""
        return {
            "v": VERSION,
            "duration_s": self.duration / 1e9,
            "taken": self.taken,
            "sent": self.sent,
            "dropped": self.dropped,
            "dropped_by": dropped_by(self.stages),
            "overflowed": self.overflowed,
            "injected": self.injected,
            "not_injected": self.not_injected,
            "bypassed": self.bypassed,
            "cut_short": self.cut_short,
            "lost_queue_full": self.lost_queue_full,
            "lost_buffer_full": self.lost_buffer_full,
            "lost_to_reload": self.lost_to_reload,
            "rules_lost": self.rules_lost,
            "interfaces_gone": self.interfaces_gone,
            "uncut": self.uncut,
            "connections_left": self.connections_left,
            "packets_left": self.packets_left,
            "wanted_hold": self.wanted.as_json(),
            "actual_hold": self.actual.as_json(),
            "lateness": self.late.as_json(),
            "stages": {
                name: {"held": use.held, "dropped": use.dropped, "injected": use.injected}
                for name, use in self.stages.items()
            },
            "counters": self.counters,
            "touched_nothing": self.touched_nothing,
            "policy_failures": self.failures.total,
            "problems": self.problems(),
        }

    def report(self) -> Group:
        """The summary for people."""
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        dropped = [f"{count:,} by {name}" for name, count in dropped_by(self.stages).items()]
        dropped += [f"{self.overflowed:,} of them beyond a limit"] if self.overflowed else []
        made = [f"{use.injected:,} by {name}" for name, use in self.stages.items() if use.injected]
        table = Table(box=None, show_header=False, pad_edge=False)
        table.add_column(justify="left")
        table.add_column(justify="right")
        table.add_column(justify="left")
        for name, count, remark in (
            ("taken", self.taken, "packets that came from the kernel"),
            ("sent", self.sent, "went on"),
            ("dropped", self.dropped, ", ".join(dropped)),
            ("injected", self.injected, ", ".join(made) or "made by policies"),
            ("bypassed", self.bypassed, "passed unshaped"),
            ("cut short", self.cut_short, "sent early, at --max-hold"),
            ("lost", self.lost, "dropped by the kernel"),
        ):
            table.add_row(name, "not known" if count is None else f"{count:,}", remark)
        for policy, counted in self.counters.items():
            for name, count in counted.items():
                table.add_row(name, f"{count:,}", f"counted by {policy}")
        if self.taken:
            for name, times in (("wanted hold", self.wanted), ("actual hold", self.actual), ("lateness", self.late)):
                others = f"median; p99 {times.p99 / ms:.3f}, max {times.max / ms:.3f} ms"
                table.add_row(name, f"{times.p50 / ms:.3f} ms", others)
        lines = [f"{name} touched nothing: {reason}" for name, reason in self.touched_nothing.items()]
        if self.connections_left is not None:
            connections = f"{self.connections_left:,} connection{'s' * (self.connections_left != 1)}"
            lines.append(
                f"left the queue, as no policy touches them: {connections}, with {self.packets_left:,} packets"
            )
        if self.uncut:
            lines.append("TCP segments were taken uncut: one packet may be many (--no-gso)")
        for name, often in self.interfaces_gone.items():
            lines.append(f"the interface {name} was gone{f', {often} times' if often > 1 else ''}")
        return Group(table, *map(Text, lines))
