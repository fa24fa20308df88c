"""How a run of live traffic through policies is set up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from shaper.core.core import MAX_HOLD
from shaper.live.choices import OnError, OnRulesLost, Timing
from shaper.live.nfqueue.netlink import MAX_LENGTH
from shaper.live.nfqueue.queue import HEADERS, WHOLE
from shaper.live.rules.rules import Match
from shaper.policy.base import Policy
from shaper.spec.scenario import Scenario
from shaper.units import Limit
from shaper.wire.segment import CLASSES


class Capture(NamedTuple):
    """A pcapng file, and which packets it gets: see `shaper.capture.write.INTERFACES`."""

    path: Path
    interfaces: tuple[str, ...]


@dataclass(frozen=True)
class Settings:
    """All that decides how a run goes."""

    policies: tuple[Policy, ...]
    """The pipeline."""
    match: Match
    """Which packets are shaped."""
    specs: tuple[str, ...] = ()
    """The policies as they were given, for the journal."""
    scenario: Scenario | None = None
    """Pipelines that follow `policies`, which are those of its first phase; None if nothing follows."""
    elapsed: int = 0
    """For how long the scenario has gone on already, in ns: others have shaped before, elsewhere."""
    profile: str = ""
    """The name of the profile that the scenario is from."""
    queue: int | None = None
    """The queue's number; None takes a free one."""
    seed: int | str = 0
    """Decides all chance."""
    max_hold: int = MAX_HOLD
    """The longest that any packet is held, in ns."""
    on_error: OnError = "stop"
    """When a policy fails: end the run, or let packets pass by that policy."""
    journal: Path | None = None
    """A file for what happened to each packet."""
    captures: tuple[Capture, ...] = ()
    """Files for the packets, as they came, as they went on, or both."""
    one_verdict_per_write: bool = False
    """Write each verdict by itself, so that what it causes in the kernel can be told apart; slower."""
    marks: int | None = None
    """A descriptor of the kernel's trace_marker, to write there when each packet came and went."""
    install_rules: bool = True
    """Set rules that bring the packets; if not, someone else's do."""
    duration: int | None = None
    """End the run after this time, in ns; None for no end."""
    length: int = MAX_LENGTH
    """How many packets the kernel holds at most."""
    buffer: int = 16 << 20
    """Bytes of the socket's receive buffer to ask for."""
    fail_open: bool = True
    """When the queue is full, packets pass unshaped instead of being dropped."""
    gso: bool | None = False
    """Take TCP segments that the sender left uncut, up to 64 kB, whole; None: where nothing speaks against it."""
    connmark: bool = False
    """Connections that no policy will touch leave the queue, see connmark.py."""
    timing: Timing = "balanced"
    """How much CPU time punctuality is worth, see choices.py and waiting.py."""
    on_rules_lost: OnRulesLost = "restore"
    """When another program has removed some of the rules: set them again, or end the run."""
    allow_bypass: bool = False
    """Packets that passed unshaped are no failure."""
    watchdog: int | None = None
    """If the engine gives no sign of life for this time (ns), a guardian lets all packets go on; None: no guardian."""
    cpu: int | None = None
    """The CPU that the engine's thread stays on; None for any."""
    realtime: bool = False
    """The engine's thread comes before all that isn't real-time, see linux/scheduling.py."""
    confined: bool = False
    """Once all is set up, give up every privilege that shaping itself doesn't need, see linux/capabilities.py.

    This needs a guardian, which then changes the rules.
    """

    @property
    def copy_range(self) -> int:
        """How many bytes of each packet the kernel copies."""
        whole = bool(self.captures) or any(policy.needs == "packet" for policy in self.all_policies)
        return WHOLE if whole else HEADERS

    @property
    def all_policies(self) -> Sequence[Policy]:
        """The policies of the pipeline and of all that follow."""
        return self.scenario.policies(self.max_hold) if self.scenario else self.policies

    def takes_uncut(self, pipeline: Sequence[Policy]) -> bool:
        """Whether these policies get TCP segments that the sender left uncut, up to 64 kB, whole.

        Unless `gso` says so, they do where all of them allow it, and neither a file nor a trace wants each packet. What
        goes out is cut: an uncut packet that is held counts for its sender, who then sends no more.
        """
        if self.gso is not None:
            return self.gso
        shows_each = self.captures or self.one_verdict_per_write or (self.journal, self.marks) != (None, None)
        goes_out = self.install_rules and "output" in self.match.passed_hooks
        return not shows_each and not goes_out and all(map(allows_uncut, pipeline))


def allows_uncut(policy: Policy) -> bool:
    """Whether a policy with these options may get segments uncut; the last of them may be a FIN."""
    return policy.takes_uncut and policy.limit == Limit() and len(policy.only) == len(CLASSES)
