"""The virtual time of a capture, for `play`: the clock is the capture's own, as long as that goes on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from shaper.capture.frames import Frame
from shaper.core.verdict import Verdict
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

    Attributes:
        differs: whether any packet's virtual time is not its stamp.
    """

    def __init__(self, tolerance: int) -> None:
        self._tolerance = tolerance
        self._ahead = 0
        self.differs = False

    def run(self, arrivals: Iterable[Packet | Verdict]) -> Iterator[Packet | Verdict]:
        """The same packets, each received at its virtual time."""
        now = ahead = 0
        for arrival in arrivals:
            packet = arrival.packet if isinstance(arrival, Verdict) else arrival
            stamp = packet.arrived
            at = stamp + ahead
            if now <= at <= LATEST:
                now = at
            else:
                if now - at > self._tolerance or at > LATEST:
                    ahead = now - stamp
                at = now
                self.differs = True
            if self.differs:
                self._ahead = at - stamp
                packet.arrived = packet.taken = at
                if isinstance(arrival, Verdict):
                    arrival.planned = at
            yield arrival

    def behind(self, verdict: Verdict) -> int:
        """How far the stamp of a packet is behind its virtual time, in ns: added to a virtual time of the packet, this
        gives its own time. A packet that a policy made goes by the packet it was copied from, else by the last one."""
        root = verdict.packet.root
        origin = root.copy_of or root
        return origin.frame.at - origin.arrived if isinstance(origin.frame, Frame) else -self._ahead
