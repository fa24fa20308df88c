"""The chains that shapers have in the mangle table: whose they are, and how they go.

Only single rules and chains without a hook are deleted, so that packets held in any queue
stay held: deleting a hooked chain would drop them (see iptables/README.md).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from shaper.live.rules import iptables
from shaper.live.rules.iptables import Family, RulesError
from shaper.live.rules.owner import Owner


def owners(family: Family) -> set[Owner]:
    """The owners that rules name, and those of chains whose rules somebody flushed.

    Raises:
        RulesError: iptables is missing, or not permitted.
    """
    table = iptables.save(family)
    found = {owner for line in table if (owner := Owner.named_in(line))}
    named = {owner.chain for owner in found}
    for line in table:
        chain = re.match(r":(shaper-(\d+)-(\d+)) ", line)
        if chain and chain[1] not in named:
            found.add(Owner.unnamed(int(chain[2]), int(chain[3])))
    return found


def remove(family: Family, owner: Owner, *, keep_counters: bool = False) -> None:
    """Remove an owner's rules and its chain, so far as they are there.

    Args:
        family: where.
        owner: whose.
        keep_counters: only the rules that lead to the chain; the chain's counters can still be read.

    Raises:
        RulesError: iptables is missing, or not permitted.
    """
    changes = _deletions(family, owner, keep_counters)
    if not changes:
        return
    try:
        iptables.restore(family, "\n".join(["*mangle", *changes, "COMMIT", ""]))
    except RulesError:
        if _deletions(family, owner, keep_counters) == changes:
            raise
        # Somebody removed some of them at the same time.
        remove(family, owner, keep_counters=keep_counters)


def _deletions(family: Family, owner: Owner, keep_counters: bool) -> Sequence[str]:
    table = iptables.save(family)
    changes = [f"-D{line[2:]}" for line in table if line.startswith("-A ") and line.endswith(f" -j {owner.chain}")]
    if not keep_counters and any(line.startswith(f":{owner.chain} ") for line in table):
        changes += [f"-F {owner.chain}", f"-X {owner.chain}"]
    return changes
