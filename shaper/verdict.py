"""Verdicts: what becomes of packets."""

from __future__ import annotations

from typing import Literal, NamedTuple

from shaper.packet import Packet

Fate = Literal["sent", "dropped", "injected"]


class Verdict(NamedTuple):
    """What becomes of one packet.

    `packet.root` is the packet as taken; `packet.raw` the bytes that go out.
    `planned` is the time at which it was to be (ns).
    """

    packet: Packet
    fate: Fate
    planned: int

    @property
    def rewritten(self) -> bool:
        return self.packet.raw is not self.packet.root.raw
