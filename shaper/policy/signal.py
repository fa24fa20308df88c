"""Signals: what happens outside the packets, told to the policies that ask for it."""

from __future__ import annotations

from typing import Literal, NamedTuple

from shaper.wire.flow import Flow

Kind = Literal["drained"]
"""drained: the process that these packets go to has read all that its socket had received."""


class Signal(NamedTuple):
    """Something that was seen of a flow, other than a packet.

    Attributes:
        kind: what.
        flow: of the packets that it is about.
        direction: the flow's, as a packet has it; the core fills it in.
    """

    kind: Kind
    flow: Flow
    direction: str = "original"


class SignalRecord(NamedTuple):
    """A signal as it was given to the core, which the journal keeps and a replay gives again.

    Attributes:
        policy: the stage's name, such as "prequeue" or "prequeue#2".
        signal: what was given.
        at: when, in ns.
        taken: how many packets the core had received by then.
    """

    policy: str
    signal: Signal
    at: int
    taken: int
