"""spread_burst: packets leave at least a gap apart."""

from shaper import Duration, Packet, Policy, Send, ms


class SpreadBurst(Policy):
    """Packets of a flow leave at least `gap` apart, in order.

    The packets of a burst, such as the ACK, data and FIN that a TCP client sends as soon as it
    is connected, arrive one after the other. This shows stalls that the burst hid: a `read`
    that found its data already there now blocks.

    # spread_burst gap=10ms
    +0     < a b c          three packets arrive together
    +0     > a
    +.010  > b
    +.010  > c
    """

    needs = "headers"
    shorthand = "gap"

    gap: Duration = 20 * ms
    """The shortest time between two departures."""
    only_bursts: bool = False
    """Spread only bursts: packets that come closer together than `burst_within`, and packets
    that come while a burst is still leaving. Other packets go on at once."""
    burst_within: Duration = 1 * ms
    """With `only_bursts`: packets closer together than this are a burst."""

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
