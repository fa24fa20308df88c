"""Rules that bring packets to several queues, as the worker of one of them sees them.

The process that started the workers installs them, looks at them and removes them. A worker
detaches them when it ends before it is told to; if that process has died, it removes them.
"""

from __future__ import annotations

from dataclasses import dataclass

from shaper.live.guardian.guardian import Guardian
from shaper.live.rules.ruleset import RuleSet, RulesState


@dataclass
class Shared:
    """What there is to see to of such rules.

    Attributes:
        rules: whose they are and what they are.
        guardian: does it.
        detached: they bring no packets any more.
        orphaned: nobody else will remove them.
    """

    rules: RuleSet
    guardian: Guardian | None = None
    detached: bool = False
    orphaned: bool = False

    def look(self) -> RulesState:
        """Of the packets counted, nobody knows here which ones were for this worker's queue."""
        return RulesState(0, whole=True)

    def detach(self) -> None:
        """See `RuleSet.detach`."""
        if self.guardian is not None and not self.detached:
            self.guardian.detach()

    def remove(self) -> None:
        """See `RuleSet.remove`."""
        if self.guardian is not None and self.orphaned:
            self.guardian.remove()

    def restore(self) -> None:
        """Never asked for, since `look` finds nothing missing."""


Keeper = RuleSet | Guardian | Shared
"""Who sees to the rules, as an engine has it."""
