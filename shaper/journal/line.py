"""What the lines of a journal say."""

from __future__ import annotations

import time
from typing import NamedTuple

from shaper.wire.flow import Flow

VERSION = 1


class Clocks(NamedTuple):
    """One moment on two clocks, in ns: what turns the journal's times into times of day."""

    monotonic: int
    realtime: int

    @classmethod
    def now(cls) -> Clocks:
        return cls(time.clock_gettime_ns(time.CLOCK_MONOTONIC), time.clock_gettime_ns(time.CLOCK_REALTIME))


class Header(NamedTuple):
    """What the journal is of.

    Attributes:
        policies: their SPECs, as given.
        clocks: CLOCK_MONOTONIC and CLOCK_REALTIME at the start; both 0 in a replay, whose times are the capture's.
        paired: each verdict was written by itself, so a wakeup inside the write belongs to its packet.
    """

    policies: tuple[str, ...]
    seed: str
    clocks: Clocks
    paired: bool


class Held(NamedTuple):
    """How long one policy held a packet, in ns."""

    policy: str
    ns: int


class Record(NamedTuple):
    """What happened to one packet; times are ns on the header's monotonic clock.

    Attributes:
        id: the number under which it was taken; 0 for one that a policy made.
        flow: its 5-tuple.
        kind: its class (see `shaper.wire.segment`).
        flags: TCP flags, lowest bit first: "SA"; empty without a TCP header.
        seq, ack: as the TCP header has them; None without one.
        fate: "sent", "dropped" or "injected".
        planned: when its verdict was to be.
        begin, end: of the verdict's write; both `planned` in a replay.
        tid: the thread that wrote it; 0 in a replay.
        by: the policy that made or dropped it; empty for others.
    """

    id: int
    flow: Flow
    kind: str
    flags: str
    seq: int | None
    ack: int | None
    length: int
    arrived: int
    taken: int
    fate: str
    planned: int
    begin: int
    end: int
    tid: int
    held: tuple[Held, ...]
    by: str = ""
