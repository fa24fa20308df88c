"""A capture through the core, in virtual time: the clock is the capture's own, as long as that goes on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from shaper.capture import CaptureError
from shaper.capture.frames import Frame
from shaper.core.core import Core
from shaper.core.verdict import Verdict
from shaper.core.virtual import play
from shaper.policy.signal import SignalRecord
from shaper.wire.packet import Packet

LATEST = 4_000_000_000 * 1_000_000_000
"""Virtual time, in ns, stays below this (it is in 2096): see `shaper.core.instances.NEVER`."""


class VirtualClock:
    """Gives each packet a time that never goes back, whatever its time stamp says, and remembers the difference.

    Virtual time is the time of the stamps, as long as these go on. While a stamp is earlier than the one before, time
    stands still. Once it is earlier by more than a packet may be held, or is beyond what the core can count, the clock
    of the capture was set: time goes on from where it is.

    Args:
        tolerance: in ns; a stamp may go back by this much before the clock counts as set.
    """

    def __init__(self, tolerance: int) -> None:
        self._tolerance = tolerance
        self._ahead = 0
        self._differs = False

    def run(self, arrivals: Iterable[Packet | Verdict]) -> Iterator[Packet | Verdict]:
        """The same packets, each received at its virtual time."""
        now = ahead = 0
        for arrival in arrivals:
            packet = arrival.packet if isinstance(arrival, Verdict) else arrival
            stamp = packet.arrived
            at = stamp + ahead
            if at < now or at > LATEST:
                if now - at > self._tolerance or at > LATEST:
                    ahead = now - stamp
                at = now
            now = at
            if at != stamp or self._differs:
                self._differs, self._ahead = True, at - stamp
                packet.arrived = packet.taken = at
                if isinstance(arrival, Verdict):
                    arrival.planned = at
            yield arrival

    def behind(self, verdict: Verdict) -> int:
        """How far the stamp of a packet is behind its virtual time, in ns: added to a virtual time of the packet, this
        gives its own time. A packet that a policy made goes by the packet it was copied from, else by the last one."""
        if not self._differs:
            return 0
        root = verdict.packet.root
        origin = root.copy_of or root
        return origin.frame.at - origin.arrived if isinstance(origin.frame, Frame) else -self._ahead


def replay(
    arrivals: Iterable[Packet | Verdict],
    core: Core,
    signals: Iterable[SignalRecord] = (),
) -> Iterator[Verdict]:
    """The verdicts on the packets of a capture, in virtual time; see `play`.

    Args:
        arrivals: in the order of the capture.
        core: a fresh one.
        signals: in the order in which they were recorded.

    Raises:
        CaptureError: what `arrivals` raised, after the verdicts on all packets before it.
        ValueError: see `play`.
    """
    error = None

    def readable() -> Iterator[Packet | Verdict]:
        nonlocal error
        try:
            yield from arrivals
        except CaptureError as caught:
            error = caught

    yield from play(core, readable(), signals)
    if error is not None:
        raise error
