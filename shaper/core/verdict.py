"""Verdicts: what becomes of packets."""

from __future__ import annotations

from typing import Literal

from shaper.wire.packet import Packet

Fate = Literal["sent", "dropped", "injected"]


class Verdict:
    """What becomes of one packet.

    `packet.root` is the packet as taken; `packet.raw` the bytes that go out.
    `planned` is the time at which it was to be (ns).
    """

    __slots__ = ("fate", "packet", "planned")

    def __init__(self, packet: Packet, fate: Fate, planned: int) -> None:
        self.packet = packet
        self.fate = fate
        self.planned = planned

    def __repr__(self) -> str:
        return f"<{self.packet!r} {self.fate} at {self.planned}>"

    @property
    def rewritten(self) -> bool:
        return self.packet.raw is not self.packet.root.raw
