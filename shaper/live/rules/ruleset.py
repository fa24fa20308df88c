"""A set of rules in the kernel: installed, checked, removed without a trace.

How they are written is in rules.py. That needs more modules, which a guardian, given the text, needn't load.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import NamedTuple

from shaper.live.rules import chain, iptables
from shaper.live.rules.iptables import Family
from shaper.live.rules.owner import Owner
from shaper.units import s

RULES_INTERVAL = 1 * s
"""Between two checks that the rules are still there; a check costs some ms of another process."""


class RulesState(NamedTuple):
    """What a look at the rules showed.

    Attributes:
        packets: how many the rules sent to the queue, or past it because it was full or nobody listened.
        whole: all of the rules are there.
    """

    packets: int
    whole: bool


class RuleSet:
    """One shaper's rules of both families.

    Args:
        owner: whose they are, as their comments say.
        text: what iptables-restore(8) is given, by family.

    Attributes:
        owner: see above.
    """

    def __init__(self, owner: Owner, text: Mapping[Family, str]) -> None:
        self.owner = owner
        self._text = dict(text)

    def text(self) -> dict[Family, str]:
        """What iptables-restore(8) and ip6tables-restore are given, by family."""
        return self._text

    def install(self) -> None:
        """Set the rules of both families, or none.

        Rules that a dead shaper left are removed, because the packets that they match would never get to ours: a
        queue that nobody listens to makes them skip all that follows in the table.

        Raises:
            RulesError: iptables is missing, not permitted, or the kernel lacks what a rule needs.
        """
        for others in chain.installed():
            if others.dead:
                others.remove()
        with ExitStack() as undo:
            for family, text in self._text.items():
                iptables.restore(family, text)
                undo.callback(chain.remove, family, self.owner)
            undo.pop_all()

    def restore(self) -> None:
        """Set them again after somebody has removed some of them; their counters begin at zero.

        Raises:
            RulesError: see `install`.
        """
        self.remove()
        self.install()

    def detach(self) -> None:
        """Bring no more packets to the queue; the rules' counters can still be read.

        Raises:
            RulesError: iptables is missing, or not permitted.
        """
        for family in self._text:
            chain.remove(family, self.owner, keep_counters=True)

    def remove(self) -> None:
        """Remove those of our rules that are there; nothing else is touched.

        Raises:
            RulesError: iptables is missing, or not permitted.
        """
        for family in self._text:
            chain.remove(family, self.owner)

    def look(self) -> RulesState:
        """How many packets the rules matched, and whether they are all there.

        Raises:
            RulesError: iptables is missing, or not permitted.
        """
        packets, whole = 0, True
        for family, text in self._text.items():
            # Each rule of ours is in a chain of ours or leads to it.
            chains = set(self.owner.chains)
            ours = [line for line in iptables.save(family, counters=True) if not chains.isdisjoint(line.split())]
            rules = [line for line in ours if line.startswith("[")]
            whole = whole and len(rules) == sum(1 for line in text.splitlines() if line.startswith("-A"))
            packets += sum(int(line[1 : line.index(":")]) for line in rules if " -j NFQUEUE " in line)
        return RulesState(packets, whole)
