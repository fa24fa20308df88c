"""The chains that shapers have in the mangle table: whose they are, whether their owner has died, and their removal.

Only single rules, and chains without a hook, are deleted, so that packets held in any queue stay held: deleting a
chain that has a hook would drop them (see iptables/README.md).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from shaper.live.nfqueue import counters
from shaper.live.rules import iptables
from shaper.live.rules.iptables import Family, RulesError
from shaper.live.rules.owner import Owner


@dataclass
class Installed:
    """The rules of one shaper, as they are in the kernel.

    Attributes:
        owner: whose they are.
        dead: the owner has died, so nobody else will remove them.
        families: where they are.
    """

    owner: Owner
    dead: bool
    families: list[Family] = field(default_factory=list)

    def remove(self) -> None:
        """Remove them, in both families.

        Raises:
            RulesError: not permitted.
        """
        for family in self.families:
            remove(family, self.owner)


def installed() -> list[Installed]:
    """The rules of all shapers, dead and living, in this network namespace.

    Raises:
        RulesError: iptables is missing, or not permitted.
    """
    found: dict[Owner, Installed] = {}
    bound = counters.bound()
    for family in iptables.families():
        for owner in sorted(owners(family)):
            if owner not in found:
                alive = owner.alive()
                # If the process can't be seen from here, its queue shows it: that is closed when the process ends.
                found[owner] = Installed(owner, dead=not alive if alive is not None else owner.queue not in bound)
            found[owner].families.append(family)
    return list(found.values())


def owners(family: Family) -> set[Owner]:
    """The owners that rules name, and those of chains whose rules somebody flushed.

    Raises:
        RulesError: iptables is missing, or not permitted.
    """
    table = iptables.save(family)
    found = {owner for line in table if (owner := Owner.named_in(line))}
    named = {name for owner in found for name in owner.chains}
    for line in table:
        chain = re.match(r":(shaper-(\d+)-(\d+)(?:-out)?) ", line)
        if chain and chain[1] not in named:
            found.add(Owner.unnamed(int(chain[2]), int(chain[3])))
    return found


def remove(family: Family, owner: Owner, *, keep_counters: bool = False) -> None:
    """Remove an owner's rules and its chains, as far as they are there.

    Args:
        family: where.
        owner: whose.
        keep_counters: remove only the rules that lead to the chains; their counters can still be read.

    Raises:
        RulesError: iptables is missing, or not permitted.
    """
    _change(family, owner, keep_counters)


def replace(family: Family, owner: Owner, text: str) -> None:
    """Set an owner's rules in place of those that are there, in one step.

    Args:
        family: where.
        owner: whose.
        text: what iptables-restore(8) is given.

    Raises:
        RulesError: iptables is missing, not permitted, or the kernel lacks what a rule needs.
    """
    _change(family, owner, True, text)


def _change(family: Family, owner: Owner, keep_counters: bool, text: str = "") -> None:
    """Remove what is there, see `remove`, and add what the text has, all in one step."""
    changes = _deletions(family, owner, keep_counters)
    if not changes and not text:
        return
    rest = text.removeprefix("*mangle\n") or "COMMIT\n"
    try:
        iptables.restore(family, "\n".join(["*mangle", *changes, rest]))
    except RulesError:
        if _deletions(family, owner, keep_counters) == changes:
            raise
        # Somebody removed some of them at the same time.
        _change(family, owner, keep_counters, text)


def _deletions(family: Family, owner: Owner, keep_counters: bool) -> Sequence[str]:
    table = iptables.save(family)
    jumps = tuple(f" -j {name}" for name in owner.chains)
    changes = [f"-D{line[2:]}" for line in table if line.startswith("-A ") and line.endswith(jumps)]
    for name in owner.chains:
        if not keep_counters and any(line.startswith(f":{name} ") for line in table):
            changes += [f"-F {name}", f"-X {name}"]
    return changes
