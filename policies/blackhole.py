"""blackhole: every packet is dropped for a time."""

from typing import Literal

from shaper import Action, Drop, Packet, Policy, Send, Time, Wake, ms, reset_receiver, reset_sender, s


class Blackhole(Policy):
    """Every packet is dropped for `duration`, which begins some time after the first packet.

    Neither end gets a message, as with a broken link, or a firewall that forgot the
    connection. TCP retransmits at growing intervals (RFC 6298, section 5.5), so the stall is
    longer than the hole. With `then=reset`, the end of the hole also ends the connection.

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
    can_hold = False

    after: Time = 1 * s
    """When it begins, counted from the first packet."""
    duration: Time = 500 * ms
    """How long it lasts; 0: forever."""
    then: Literal["pass", "reset"] = "pass"
    """Once it is over: packets pass again, or both ends get a RST at once, if a TCP segment was lost."""

    def start(self) -> None:
        self._came: int | None = None  # when the first packet came
        self._first: Packet | None = None

    def on_packet(self, packet: Packet, now: int) -> Action | list[Action] | None:
        if self._came is None:
            self._came = now
        begin = self._came + self.after
        end = begin + self.duration
        if now < begin or (self.duration and now >= end):
            return None
        if self.then == "reset" and self.duration and self._first is None and packet.tcp is not None:
            # The first segment lost has the sequence numbers that both ends wait for.
            self._first = packet
            return [Drop(packet), Wake(end)]
        return Drop(packet)

    def on_wake(self, now: int) -> Wake | list[Action]:
        assert self._first is not None
        assert self._came is not None
        end = self._came + self.after + self.duration
        if self.then != "reset" or not self.duration:
            return []
        if now < end:
            return Wake(end)
        resets = (reset_receiver(self._first), reset_sender(self._first))
        return [Send(reset) for reset in resets if reset is not None]
