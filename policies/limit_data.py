"""limit_data: a flow ends after a number of bytes."""

from collections.abc import Collection
from typing import Literal

from shaper import Action, Drop, Packet, Policy, Send, Size, reset_receiver, reset_sender

HEADERS = {"udp": 8, "data": 20}


class LimitData(Policy):
    """A flow ends once it has carried `bytes` of payload: by a reset of both ends, or in silence.

    As toxiproxy's `limit_data`, for each direction separately. The segment that exceeds the
    limit is the first that doesn't pass; retransmissions count again. UDP has no reset.

    # limit_data bytes=150
    +0     < a b c
    +0     x b c
    +0     > a r:rst,seq=101,win=0 t:rst,reply,seq=1,ack=201,win=0
    """

    needs = "headers"
    shorthand = "bytes"
    can_hold = False

    bytes: Size = 65536
    """How many bytes of payload pass."""
    then: Literal["reset", "drop"] = "reset"
    """reset: both ends get one RST. drop: they get nothing. Later packets are dropped either way."""

    def start(self) -> None:
        self._passed = 0
        self._is_over = False

    def on_change(self, changed: Collection[str]) -> None:
        """A higher limit lets the flow go on."""
        self._is_over = self._is_over and self._passed > self.bytes

    def on_packet(self, packet: Packet, now: int) -> list[Action] | None:
        if self._is_over:
            return [Drop(packet)]
        tcp = packet.tcp
        if tcp is not None:
            self._passed += tcp.payload
        elif packet.kind in HEADERS:
            # UDP, or a fragment; of a datagram's fragments only the first has a transport header.
            ip = packet.ip
            begin = ip.transport + HEADERS[packet.kind] if ip.transport >= 0 else ip.header
            self._passed += max(0, packet.length - begin)
        if self._passed <= self.bytes:
            return None
        self._is_over = True
        resets = (reset_receiver(packet), reset_sender(packet)) if self.then == "reset" else ()
        return [Drop(packet), *(Send(reset) for reset in resets if reset is not None)]
