"""Rules that bring packets to several queues, as the worker of one of them sees them.

The process that started the workers installs them, checks them and removes them. A worker detaches them when it ends
without having been told to; if that process has died, the worker removes them.
"""

from __future__ import annotations

from dataclasses import dataclass

from shaper.live.guardian.guardian import Guardian
from shaper.live.rules.ruleset import RuleSet, RulesState


@dataclass
class SharedRules:
    """Rules of which this process does only its share.

    Attributes:
        rules: what they are and whose.
        guardian: this worker's; it makes the changes.
        detached: they bring no more packets.
        orphaned: nobody else will remove them.
    """

    rules: RuleSet
    guardian: Guardian | None = None
    detached: bool = False
    orphaned: bool = False

    def look(self) -> RulesState:
        """Always whole and without packets: here nobody knows which of the packets counted were for this queue."""
        return RulesState(0, whole=True)

    def detach(self) -> None:
        """Bring no more packets to any of the queues, unless that is done already; see `RuleSet.detach`."""
        if self.guardian is not None and not self.detached:
            self.guardian.detach()

    def remove(self) -> None:
        """Remove them if nobody else will; see `RuleSet.remove`."""
        if self.guardian is not None and self.orphaned:
            self.guardian.remove()

    def restore(self) -> None:
        """Never called, since `look` finds nothing missing."""


RulesControl = RuleSet | Guardian | SharedRules
"""What an engine changes its rules through: directly, through its guardian, or as one of several workers."""
