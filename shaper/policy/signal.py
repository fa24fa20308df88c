"""Signals: events other than packets, reported to the policies that ask for them."""

from __future__ import annotations

from typing import Literal, NamedTuple

from shaper.wire.flow import Flow

Kind = Literal["drained"]
"""drained: the process that a flow's packets go to has read everything that its socket had received."""


class Signal(NamedTuple):
    """An event of a flow, other than a packet.

    Attributes:
        kind: what has happened.
        flow: the packets that it is about.
        direction: the flow's direction, as in `Packet.direction`; the core fills it in.
    """

    kind: Kind
    flow: Flow
    direction: str = "original"


class SignalRecord(NamedTuple):
    """A signal as the core got it: the journal keeps it, and a replay gives it to the core again.

    Attributes:
        policy: the stage's name, such as "prequeue" or "prequeue#2".
        signal: the signal.
        at: when, in ns.
        taken: how many packets the core had received by then.
    """

    policy: str
    signal: Signal
    at: int
    taken: int
