"""What a run of live traffic through policies is told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from shaper.core.core import MAX_HOLD
from shaper.live.choices import OnError, OnRulesLost, Timing
from shaper.live.nfqueue.netlink import MAX_LENGTH
from shaper.live.nfqueue.queue import HEADERS, WHOLE
from shaper.live.rules.rules import Match
from shaper.live.shared import Shared
from shaper.policy.base import Policy


@dataclass(frozen=True)
class Settings:
    """All that a run is told.

    Attributes:
        policies: the pipeline.
        match: which packets.
        specs: the policies as they were given, for the journal.
        queue: its number; None takes a free one.
        seed: decides all chance.
        max_hold: the longest that any packet is held, in ns.
        on_error: end the run when a policy fails, or let packets pass by that policy.
        journal: a file for what happened to each packet.
        capture: a pcapng file for the packets as they came and as they went.
        one_verdict_per_write: so that what each causes in the kernel can be told apart; slower.
        marks: a descriptor of the kernel's trace_marker, to write there when each packet came and went.
        install_rules: without, someone else's rules bring the packets.
        duration: end the run after so many ns.
        length: how many packets the kernel holds at most.
        buffer: bytes of the socket's receive buffer to ask for.
        fail_open: packets pass unshaped, rather than being dropped, when the queue is full.
        gso: take TCP segments that the sender left uncut, up to 64 kB, whole.
        timing: how much CPU time punctuality is worth, see waiting.py.
        on_rules_lost: set the rules anew when another program has removed some of them, or end the run.
        allow_bypass: packets that passed unshaped are no failure.
        watchdog: when the engine gives no sign of life for so long (ns), a guardian lets all packets
            go on; None for no guardian.
        cpu: the one that the engine's thread stays on; None for any.
        realtime: the engine's thread comes before all that isn't real-time, see scheduling.py.
        shared: rules that this run shares with others, see shared.py; then it installs none.
        confined: once all is set up, give up all that shaping itself doesn't need, see privileges.py;
            needs a guardian, which sees to the rules then.
    """

    policies: tuple[Policy, ...]
    match: Match
    specs: tuple[str, ...] = ()
    queue: int | None = None
    seed: int | str = 0
    max_hold: int = MAX_HOLD
    on_error: OnError = "stop"
    journal: Path | None = None
    capture: Path | None = None
    one_verdict_per_write: bool = False
    marks: int | None = None
    install_rules: bool = True
    duration: int | None = None
    length: int = MAX_LENGTH
    buffer: int = 16 << 20
    fail_open: bool = True
    gso: bool = False
    timing: Timing = "balanced"
    on_rules_lost: OnRulesLost = "restore"
    allow_bypass: bool = False
    watchdog: int | None = None
    cpu: int | None = None
    realtime: bool = False
    shared: Shared | None = None
    confined: bool = False

    @property
    def copy_range(self) -> int:
        """How many bytes of each packet the kernel is to copy."""
        whole = self.capture is not None or any(policy.needs == "packet" for policy in self.policies)
        return WHOLE if whole else HEADERS
