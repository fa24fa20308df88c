"""A capture through the core, in virtual time: the clock is the capture's own."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

from shaper.capture import CaptureError
from shaper.core.core import Core
from shaper.core.verdict import Verdict
from shaper.policy.signal import SignalRecord
from shaper.wire.packet import Packet


def replay(packets: Iterable[Packet], core: Core, signals: Iterable[SignalRecord] = ()) -> Iterator[Verdict]:
    """What becomes of these packets, in order of time, until none is held any more.

    Each is taken when it was captured; one captured before its predecessor counts as
    taken with it. No more packets are in memory than are held.

    Args:
        packets: in order of their capture.
        core: a fresh one.
        signals: what it is told beside, in the order in which it was told; each again after as many packets.

    Raises:
        CaptureError: what `packets` raised, once all that came before is done.
    """
    now, error, ahead = 0, None, deque(signals)
    try:
        for packet in packets:
            while ahead and ahead[0].taken <= core.counts.taken:
                now = _give(core, ahead.popleft(), now)
                yield from core.due(now)
            now = max(now, packet.arrived)
            core.receive(packet, now)
            yield from core.due(now)
    except CaptureError as caught:
        error = caught
    for given in ahead:
        now = _give(core, given, now)
        yield from core.due(now)
    # A policy may ask for wakes without end, but no packet that was taken is held any longer.
    end = now + core.max_hold
    while (deadline := core.next_deadline()) is not None and deadline <= end:
        yield from core.due(deadline)
    yield from core.close()
    if error is not None:
        raise error


def _give(core: Core, given: SignalRecord, now: int) -> int:
    """Tell the core of a signal; the time at which it is told."""
    now = max(now, given.at)
    core.signal(given.policy, given.signal, now)
    return now
