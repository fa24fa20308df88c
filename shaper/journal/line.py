"""The lines of a journal: its header, and what happened to each packet."""

from __future__ import annotations

import time
from typing import NamedTuple

from shaper.units import ms
from shaper.wire.flow import Flow

VERSION = 1
"""The version of the format; a line of another version is not read."""
FLUSH_INTERVAL = 500 * ms
"""The files of a running shaper are written at most this late, in ns."""
FLOWS_REMEMBERED = 4096
"""For this many flows, writer and reader remember the text: a journal names the same few again and again."""


class Clocks(NamedTuple):
    """One moment on two clocks, in ns, by which the journal's times can be turned into times of day."""

    monotonic: int
    realtime: int

    @classmethod
    def now(cls) -> Clocks:
        """This moment."""
        return cls(time.clock_gettime_ns(time.CLOCK_MONOTONIC), time.clock_gettime_ns(time.CLOCK_REALTIME))


class Header(NamedTuple):
    """Which run the journal belongs to.

    Attributes:
        policies: their SPECs, as given.
        seed: of all chance.
        clocks: CLOCK_MONOTONIC and CLOCK_REALTIME at the start; both 0 in a replay, whose times are the capture's.
        forwarded: a router's packets, which only pass this machine.
    """

    policies: tuple[str, ...]
    seed: str
    clocks: Clocks
    forwarded: bool = False


class Held(NamedTuple):
    """How long one policy held a packet, in ns."""

    policy: str
    ns: int


class Record(NamedTuple):
    """What happened to one packet; times are ns on the header's monotonic clock.

    Attributes:
        id: its number in the order of arrival; 0 for a packet that a policy made.
        flow: its 5-tuple.
        kind: its class (see `shaper.wire.segment`).
        flags: TCP flags, lowest bit first: "SA"; empty without a TCP header.
        seq, ack: from the TCP header; None without one.
        length: bytes of the whole packet, the IP header included.
        arrived: when it came.
        taken: when it was read from the queue.
        fate: "sent", "dropped" or "injected".
        planned: when its verdict was due.
        begin, end: of the verdict's write; both `planned` in a replay.
        tid: the thread that wrote the verdict; 0 in a replay.
        held: its holds, in order.
        by: the policy that made or dropped it; empty for other packets.
        forwarded: see `Header`.
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
    forwarded: bool = False

    def moved(self, by: int) -> Record:
        """The same on a clock that is ahead by this time (ns)."""
        return self._replace(
            arrived=self.arrived + by,
            taken=self.taken + by,
            planned=self.planned + by,
            begin=self.begin + by,
            end=self.end + by,
        )
