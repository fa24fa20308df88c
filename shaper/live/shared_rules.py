"""The rules, as an engine behind a front sees them.

The front installs them, checks them and removes them; they may bring packets to other engines, too. An engine detaches
them when it ends without having been told to; if the front has died, the engine removes them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from shaper.live.guardian.guardian import Guardian
from shaper.live.rules.ruleset import RuleSet, RulesState


@dataclass
class SharedRules:
    """Rules of which this process does only its share.

    Attributes:
        ask: asks the front for the rules that bring packets to the queue of this number; None if it installs none.
        front: the descriptor of the socket to the front, by which the guardian reports a rescue.
        guardian: this engine's; it makes the changes.
        detached: they bring no more packets.
        orphaned: nobody else will remove them.
    """

    ask: Callable[[int], RuleSet | None]
    front: int
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
"""What an engine changes its rules through: directly, through its guardian, or as one behind a front."""
