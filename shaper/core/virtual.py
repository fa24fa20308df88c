"""The core in virtual time: each packet is received at its own time, and nobody waits for a deadline."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from shaper.core.change import NOTHING, Change
from shaper.core.core import Core
from shaper.core.verdict import Verdict
from shaper.errors import ShaperError
from shaper.policy.base import Policy
from shaper.policy.signal import SignalRecord
from shaper.wire.packet import Packet


class Prepared(NamedTuple):
    """A change that can be made.

    Attributes:
        change: as another run's core noted it.
        pipeline: the prototypes of its SPECs.
        values: of its options.
    """

    change: Change
    pipeline: Sequence[Policy] = ()
    values: Mapping[str, Any] = NOTHING

    @property
    def at(self) -> int:
        """When, in ns."""
        return self.change.at

    @property
    def taken(self) -> int:
        """How many packets the core had received by then."""
        return self.change.taken


Given = SignalRecord | Prepared
"""What a core is given apart from packets."""


def play(
    core: Core,
    arrivals: Iterable[Packet | Verdict],
    given: Iterable[Given] = (),
    *,
    rest: int | None = None,
    stops_empty: bool = False,
) -> Iterator[Verdict]:
    """The verdicts on these packets, in order of time, until none is held any more.

    A packet is received when it arrived; one that arrived before its predecessor, together
    with it. No more packets are in memory than are held.

    Args:
        core: a fresh one.
        arrivals: packets, in order. A verdict among them is known already: it is passed on in its place, and at its
            time.
        given: signals and changes, in order; each is given to the core once as many packets are taken as when it was
            recorded.
        rest: how long policies may still wake after the last packet, signal and change, in ns; None means the core's
            `max_hold`. A policy may ask for wakes without end.
        stops_empty: end as soon as no packet is held, even if wakes are pending.

    Raises:
        ShaperError: what `arrivals` raised, after the verdicts on all packets before it.
        ValueError: a signal is for a stage that the core doesn't have.
        ChangeError: a change can't be made.
    """
    now, ahead = 0, deque(given)
    receive, due = core.receive, core.due
    failure = None
    try:
        for arrival in arrivals:
            while ahead and ahead[0].taken <= core.counts.taken:
                now = _give(core, ahead.popleft(), now)
                yield from due(now)
            if isinstance(arrival, Verdict):
                now = max(now, arrival.planned)
                yield from due(now)
                yield arrival
                continue
            if arrival.arrived > now:
                now = arrival.arrived
            receive(arrival, now)
            yield from due(now)
    except ShaperError as error:
        failure = error
    for one in ahead:
        now = _give(core, one, now)
        yield from core.due(now)
    end = now + (core.max_hold if rest is None else rest)
    while (deadline := core.next_deadline()) is not None and deadline <= end:
        if stops_empty and not core.counts.held:
            break
        yield from core.due(deadline)
    yield from core.close()
    if failure is not None:
        raise failure


def _give(core: Core, given: Given, now: int) -> int:
    """Give a signal or a change to the core; returns the time at which that was."""
    now = max(now, given.at)
    if isinstance(given, SignalRecord):
        core.signal(given.policy, given.signal, now)
        return now
    change = given.change
    match change.what:
        case "replace":
            core.replace(given.pipeline, now, change.specs)
        case "change":
            core.change(change.stage, given.values, now, change.options)
        case "pause":
            core.pause(now)
        case "resume":
            core.resume(now)
        case "release":
            core.release(now)
        case "time":
            pass  # the caller lets it go on
    return now
