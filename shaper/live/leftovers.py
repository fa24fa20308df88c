"""Rules whose shaper has died; a living one's are told apart by the owner that each rule names."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from shaper.live import counters, iptables
from shaper.live.iptables import Family
from shaper.live.owner import Owner
from shaper.live.rules import remove


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
            remove(family, self.owner)


def installed() -> list[Installed]:
    """The rules of all shapers, the living included, in this network namespace.

    Raises:
        RulesError: iptables is missing, or not permitted.
    """
    found: dict[Owner, Installed] = {}
    bound = counters.bound()
    for family in iptables.families():
        for owner in sorted(_owners(iptables.save(family))):
            if owner not in found:
                alive = owner.alive()
                # Of a process that can't be seen from here, its queue tells: it closes when the process ends.
                found[owner] = Installed(owner, dead=not alive if alive is not None else owner.queue not in bound)
            found[owner].families.append(family)
    return list(found.values())


def _owners(table: list[str]) -> set[Owner]:
    """The owners that rules name, and those of chains whose rules somebody flushed."""
    owners = {owner for line in table if (owner := Owner.named_in(line))}
    named = {owner.chain for owner in owners}
    for line in table:
        chain = re.match(r":(shaper-(\d+)-(\d+)) ", line)
        if chain and chain[1] not in named:
            owners.add(Owner.unnamed(int(chain[2]), int(chain[3])))
    return owners
