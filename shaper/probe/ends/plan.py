"""ProbePlan: what the two ends of a run are to do."""

from __future__ import annotations

from dataclasses import dataclass, field

from shaper.live.rules.rules import Match
from shaper.units import s

HOST, PORT = "127.0.0.1", 8765


@dataclass(frozen=True)
class ProbePlan:
    """What each end does, where, and for how long.

    Attributes:
        workload: its name and options (see `shaper.probe.ends.workload.load`).
        host, port: of the server.
        timeout: the longest that either end may take, in ns.
        networks: descriptors of the network namespaces of the ends, by role; without one, that of this process.
        match: which packets are shaped.
    """

    workload: str = "netcat"
    host: str = HOST
    port: int = PORT
    timeout: int = 10 * s
    networks: tuple[tuple[str, int], ...] = ()
    match: Match = field(default_factory=Match)
