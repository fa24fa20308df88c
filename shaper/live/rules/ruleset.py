"""A set of rules in the kernel: installed, checked, removed without a trace.

How they are written is in rules.py. That needs more modules, which a guardian, given the text, needn't load.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Final, NamedTuple

from shaper.live.rules import chain, iptables
from shaper.live.rules.iptables import Family
from shaper.live.rules.owner import Owner
from shaper.units import s

RULES_INTERVAL = 1 * s
"""Between two checks that the rules are still there; a check costs some ms of another process."""

MASK: Final = 0x07FF_0000
"""The bits of a connection's mark that are ours, see connmark.py; others are left as they are."""


class RulesState(NamedTuple):
    """What a look at the rules showed.

    Attributes:
        packets: how many the rules sent to the queue, or past it because it was full or nobody listened.
        whole: all of the rules are there.
        left: packets of connections that have left the queue, since the rules have the mark that they have.
    """

    packets: int
    whole: bool
    left: int = 0


class RuleSet:
    """One shaper's rules of both families.

    Args:
        owner: whose they are, as their comments say.
        text: what iptables-restore(8) is given, by family.
        mark: that of connections that have left the queue; 0 if none does.

    Attributes:
        owner, mark: see above.
    """

    def __init__(self, owner: Owner, text: Mapping[Family, str], mark: int = 0) -> None:
        self.owner, self.mark = owner, mark
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

        In one step, since packets are held: if connection tracking ended with the last of the rules, they were dropped.

        Raises:
            RulesError: see `install`.
        """
        for family, text in self._text.items():
            chain.replace(family, self.owner, text)

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

    def bring_back(self, mark: int) -> None:
        """Bring connections that have left to the queue again; those leave it from now on that get this mark.

        Raises:
            RulesError: iptables is missing, or not permitted.
        """
        before, after = matching(self.mark), matching(mark)
        with ExitStack() as undo:
            for family, text in self._text.items():
                iptables.restore(family, _exchange(text, before, after))
                undo.callback(iptables.restore, family, _exchange(text.replace(before, after), after, before))
            undo.pop_all()
        self._text = {family: text.replace(before, after) for family, text in self._text.items()}
        self.mark = mark

    def look(self) -> RulesState:
        """How many packets the rules matched, and whether they are all there.

        Raises:
            RulesError: iptables is missing, or not permitted.
        """
        packets, left, whole = 0, 0, True
        for family, text in self._text.items():
            # Each rule of ours is in a chain of ours or leads to it.
            chains = set(self.owner.chains)
            ours = [line for line in iptables.save(family, counters=True) if not chains.isdisjoint(line.split())]
            rules = [line for line in ours if line.startswith("[")]
            whole = whole and len(rules) == sum(1 for line in text.splitlines() if line.startswith("-A"))
            packets += sum(int(line[1 : line.index(":")]) for line in rules if " -j NFQUEUE " in line)
            left += sum(int(line[1 : line.index(":")]) for line in rules if " -m connmark " in line)
        return RulesState(packets, whole, left)


def matching(mark: int) -> str:
    """What matches packets of connections with this mark, for iptables."""
    return f" -m connmark --mark {mark:#x}/{MASK:#x}"


def _exchange(text: str, before: str, after: str) -> str:
    """The text for iptables that replaces one match by another in the rules of this text."""
    changes = []
    for line in text.splitlines():
        if before in line:
            changes += [f"-I{line.replace(before, after)[2:]}", f"-D{line[2:]}"]
    return "\n".join(["*mangle", *changes, "COMMIT", ""])
