"""Events that a trace lacks, and what that costs its report."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from shaper.trace.read.events import Lack


class Seen(NamedTuple):
    """What a trace has.

    Attributes:
        events: the names of events that it has, or would have had; see `shaper.trace.read.events`.
        packets: the report is to explain packets: there is a journal, or a task waited for the network.
        client: some task is known as a client.
    """

    events: frozenset[str]
    packets: bool
    client: bool


class _Need(NamedTuple):
    """An event that the analysis uses: any of these names of the model will do."""

    names: frozenset[str]
    lack: Lack
    applies: Callable[[Seen], bool] = lambda seen: True


NEEDS = (
    _Need(
        frozenset({"sched_switch"}),
        Lack("sched:sched_switch", "when a task slept isn't known, so no blocking is found"),
    ),
    _Need(
        frozenset({"sys_enter"}),
        Lack("raw_syscalls:sys_enter", "no call of any task is known, so no blocking is found"),
    ),
    _Need(
        frozenset({"sys_exit"}),
        Lack("raw_syscalls:sys_exit", "when a call ended isn't known, so what came after it seems to be a part of it"),
        lambda seen: "sys_enter" in seen.events,
    ),
    _Need(frozenset({"sched_waking"}), Lack("sched:sched_waking", "what woke a task isn't known")),
    _Need(
        frozenset({"softirq_entry", "irq_handler_entry"}),
        Lack("irq:softirq_entry", "a wakeup by the network or a disk seems to come from the task that ran there"),
    ),
    _Need(
        frozenset({"hrtimer_expire_entry"}),
        Lack("timer:hrtimer_expire_entry", "a wakeup by a timer seems to come from the task that ran there"),
    ),
    _Need(
        frozenset({"net_dev_queue"}),
        Lack("net:net_dev_queue", "which packet a task sent isn't known, so chains end at the first packet"),
        lambda seen: seen.packets,
    ),
    _Need(
        frozenset({"inet_sock_set_state"}),
        Lack("sock:inet_sock_set_state", "which task is the client isn't known"),
        lambda seen: seen.packets and not seen.client,
    ),
)
FATAL = ("sched:sched_switch", "raw_syscalls:sys_enter")
"""Without these no blocking can be found."""


def lacks(seen: Seen) -> Iterator[Lack]:
    """What this trace lacks of what the analysis needs, the worst first."""
    for need in NEEDS:
        if not need.names & seen.events and need.applies(seen):
            yield need.lack
