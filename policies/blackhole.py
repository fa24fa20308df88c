"""blackhole: for a while, every packet is dropped."""

from shaper import Drop, Packet, Policy, Time, ms, s


class Blackhole(Policy):
    """From some time after the first packet on, and for some time, every packet is dropped.

    Neither end is told: what a broken link or a firewall that forgot the connection does.
    TCP retransmits with growing pauses (RFC 6298, section 5.5), so the stall is longer
    than the hole.

    # blackhole after=20ms duration=50ms
    +0     < a
    +0     > a
    +.020  < b
    +0     x b
    +.050  < c
    +0     > c
    """

    needs = "headers"
    shorthand = "duration"
    holds = False

    after: Time = 1 * s
    """When it begins, counted from the first packet."""
    duration: Time = 500 * ms
    """How long it lasts; 0: for ever."""

    def start(self) -> None:
        self._begin: int | None = None

    def on_packet(self, packet: Packet, now: int) -> Drop | None:
        if self._begin is None:
            self._begin = now + self.after
        is_over = self.duration and now >= self._begin + self.duration
        return None if now < self._begin or is_over else Drop(packet)
