"""Rules whose shaper has died; a living one's are told apart by the owner that each rule names."""

from __future__ import annotations

from dataclasses import dataclass, field

from shaper.live.nfqueue import counters
from shaper.live.rules import chain, iptables
from shaper.live.rules.iptables import Family
from shaper.live.rules.owner import Owner


@dataclass
class Installed:
    """Rules of one shaper, as they are in the kernel.

    Attributes:
        owner: whose they are.
        dead: nobody will remove them but us.
        families: where they are.
    """

    owner: Owner
    dead: bool
    families: list[Family] = field(default_factory=list)

    def remove(self) -> None:
        """Remove them, those of both families.

        Raises:
            RulesError: not permitted.
        """
        for family in self.families:
            chain.remove(family, self.owner)


def installed() -> list[Installed]:
    """The rules of all shapers, the living included, in this network namespace.

    Raises:
        RulesError: iptables is missing, or not permitted.
    """
    found: dict[Owner, Installed] = {}
    bound = counters.bound()
    for family in iptables.families():
        for owner in sorted(chain.owners(family)):
            if owner not in found:
                alive = owner.alive()
                # Of a process that can't be seen from here, its queue tells: it closes when the process ends.
                found[owner] = Installed(owner, dead=not alive if alive is not None else owner.queue not in bound)
            found[owner].families.append(family)
    return list(found.values())
