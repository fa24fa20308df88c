"""flap: a link that goes down again and again."""

from typing import Literal

from shaper import Action, Drop, Duration, Packet, Policy, Send, Time, ms, s


class Flap(Policy):
    """A link that is up for some time, then down, then up again, beginning with the first packet.

    While it is down packets are dropped, as by a cable that is pulled, or held until it is
    up, as by a radio that changes its cell.

    # flap up=30ms down=20ms
    +0     < a
    +0     > a
    +.030  < b
    +0     x b
    +.020  < c
    +0     > c
    """

    needs = "headers"
    shorthand = "down"

    scope: Literal["flow", "connection", "queue"] = "queue"
    """One link for all packets; `flow` gives each flow a link of its own."""
    up: Time = 2 * s
    """How long it is up."""
    down: Duration = 200 * ms
    """How long it is down; 0: never."""
    packets: Literal["drop", "hold"] = "drop"
    """What becomes of packets while it is down."""

    def start(self) -> None:
        self._begin: int | None = None

    def on_packet(self, packet: Packet, now: int) -> Action | None:
        if self._begin is None:
            self._begin = now
        since_up = (now - self._begin) % (self.up + self.down) if self.down else 0
        if not self.down or since_up < self.up:
            return None
        return Drop(packet) if self.packets == "drop" else Send(packet, at=now - since_up + self.up + self.down)
