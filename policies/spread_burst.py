"""spread_burst: packets leave at least a gap apart."""

from shaper import Duration, Packet, Policy, Send, ms


class SpreadBurst(Policy):
    """Packets of a flow leave at least `gap` apart, in their order.

    A burst, such as the ACK, data and FIN that a TCP client sends at once when its
    connection stands, arrives as one packet after another. Stalls that the burst hid,
    such as a `read` that found its data already there, come to light.

    # spread_burst gap=10ms
    +0     < a b c          three packets arrive together
    +0     > a
    +.010  > b
    +.010  > c
    """

    needs = "headers"
    shorthand = "gap"

    gap: Duration = 20 * ms
    """The least time between two departures."""
    only_bursts: bool = False
    """Spread bursts alone: packets that come closer together than `burst_within`, and
    those that come while a burst is still leaving. Others go on at once."""
    burst_within: Duration = 1 * ms
    """Packets closer together than this are a burst, with `only_bursts`."""

    def start(self) -> None:
        self._last_arrival: int | None = None
        self._last_departure: int | None = None

    def on_packet(self, packet: Packet, now: int) -> Send:
        at = now
        if self._last_departure is not None and (not self.only_bursts or self._is_in_burst(now)):
            at = max(now, self._last_departure + self.gap)
        self._last_arrival, self._last_departure = now, at
        return Send(packet, at)

    def _is_in_burst(self, now: int) -> bool:
        assert self._last_arrival is not None
        assert self._last_departure is not None
        return now - self._last_arrival < self.burst_within or now < self._last_departure
