"""Verdicts: what becomes of packets."""

from __future__ import annotations

from typing import Literal

from shaper.wire.packet import Packet

Fate = Literal["sent", "dropped", "injected", "passed"]


class Verdict:
    """What becomes of one packet.

    Attributes:
        packet: its `raw` are the bytes that go out, its `root` is the packet as it was taken.
        fate: sent, dropped, or injected: sent, but made by a policy. In a replay also passed: a frame without an IP
            packet, which no policy sees.
        planned: when, in ns.
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
        """Whether a policy gave the packet other bytes than those it was taken with."""
        return self.packet.raw is not self.packet.root.raw
