"""Conditions: what a path does to its packets, and a name for it.

NAME=SPEC | SPEC …      a pipeline of policies
none                    nothing
netem:"delay 100ms"     the kernel's own netem, with these arguments of tc-netem(8)
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from shaper.core.core import MAX_HOLD
from shaper.spec.load import load_pipeline, split_at_bars
from shaper.spec.netem import options_in
from shaper.spec.profiles import find
from shaper.spec.scenario import Scenario

NAMED = re.compile(r"([\w+. -]+?)\s*=\s*(.*)", re.DOTALL)
NETEM = re.compile(r"netem:\"?([^\"|]*)\"?")


@dataclass(frozen=True)
class Condition:
    """What happens to packets between the two ends.

    Attributes:
        name: the title of its column.
        policies: SPECs; none if shaper does nothing.
        netem: arguments of tc's netem; "" if it is not asked for.
        note: what the reader must know: that something stands in for netem.
        scenario: phases that follow the policies, which are those of the first one; None without phases.
    """

    name: str
    policies: tuple[str, ...] = ()
    netem: str = ""
    note: str = ""
    scenario: Scenario | None = None

    def __str__(self) -> str:
        what = f"netem {self.netem}" if self.netem else " | ".join(self.policies) or "not shaped"
        what += f", then {len(self.scenario.phases) - 1} more phases" if self.scenario else ""
        return f"{what} ({self.note})" if self.note else what


def parse(text: str) -> Condition:
    """Read a condition: "spread=delay:time=100ms | spread_burst:gap=100ms". Without a name, the text is its name.

    Raises:
        UsageError: a policy that can't be used, or several netem lines in one.
    """
    named = NAMED.fullmatch(text)
    name, what = (named[1], named[2]) if named else (text, text)
    what = what.strip()
    if what == "none":
        return Condition(name)
    if netem := NETEM.fullmatch(what):
        return Condition("netem" if named is None else name, netem=" ".join(options_in(netem[1])[0]))
    specs = tuple(split_at_bars(what))
    load_pipeline(specs)
    return Condition(name, specs)


def imitate(name: str) -> Condition:
    """The network of a profile, by its name or file, as a condition.

    Raises:
        UsageError: there is no such profile, or one of its policies can't be used.
    """
    profile = find(name)
    load_pipeline(profile.pipeline)
    if profile.scenario is not None:
        profile.scenario.policies(MAX_HOLD)
    return Condition(Path(name).stem, profile.pipeline, scenario=profile.scenario)


DEFAULT = (
    "none",
    'netem:"delay 100ms"',
    "delay=delay:time=100ms",
    "spread=delay:time=100ms | spread_burst:gap=100ms",
    "held ACK=delay:time=100ms | hold_acks:time=100ms,handshake=yes",
    "SYN-ACK=delay:time=100ms,only=synack",
)
