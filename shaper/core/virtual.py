"""The core in virtual time: each packet is received at its own time, and nobody waits for a deadline."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

from shaper.core.core import Core
from shaper.core.verdict import Verdict
from shaper.errors import ShaperError
from shaper.policy.signal import SignalRecord
from shaper.wire.packet import Packet


def play(
    core: Core,
    arrivals: Iterable[Packet | Verdict],
    signals: Iterable[SignalRecord] = (),
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
        signals: in order; each is given to its policy once as many packets are taken as when it was recorded.
        rest: how long policies may still wake after the last packet and signal, in ns; None means the core's
            `max_hold`. A policy may ask for wakes without end.
        stops_empty: end as soon as no packet is held, even if wakes are pending.

    Raises:
        ShaperError: what `arrivals` raised, after the verdicts on all packets before it.
        ValueError: a signal is for a stage that the core doesn't have.
    """
    now, ahead = 0, deque(signals)
    receive, due = core.receive, core.due
    failure = None
    try:
        for arrival in arrivals:
            while ahead and ahead[0].taken <= core.counts.taken:
                now = _signal(core, ahead.popleft(), now)
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
    for signal in ahead:
        now = _signal(core, signal, now)
        yield from core.due(now)
    end = now + (core.max_hold if rest is None else rest)
    while (deadline := core.next_deadline()) is not None and deadline <= end:
        if stops_empty and not core.counts.held:
            break
        yield from core.due(deadline)
    yield from core.close()
    if failure is not None:
        raise failure


def _signal(core: Core, record: SignalRecord, now: int) -> int:
    """Give a signal to its policy; returns the time at which that was."""
    now = max(now, record.at)
    core.signal(record.policy, record.signal, now)
    return now
