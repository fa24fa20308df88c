"""Built-in policies with any options, any changes of these, and packets through them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from shaper import Packet, Policy, s
from shaper.core.change import ChangeError
from shaper.core.core import Core
from shaper.core.verdict import Verdict
from shaper.policy.options import Option, options_of
from shaper.spec.load import find, parse_options

STORIES = Path(__file__).parent / "timelines"
VALUES: dict[str, tuple[str, ...]] = {
    "duration": ("0", "1us", "3ms", "20ms", "1s"),
    "share": ("0%", "1%", "50%", "100%"),
    "count": ("0", "1", "2", "7"),
    "time": ("0", "3ms", "1s", "1min"),
    "text": ("shaper", "X"),
    "number": ("0", "1", "-20"),
    "file of delays": (str(STORIES / "delays.steps"),),
    "trace file": (str(STORIES / "two.trace"),),
    "numbers or FILE": ("none", "1+3-5"),
    "fates or FILE": (
        "none",
        "#1 original data 1: drop; #1 reply data 1: hold 3ms; #1 original data 2: twice; #1 original udp 1: behind 2",
        str(STORIES / "two.fates"),
    ),
    "rate": ("10kbit", "1mbit", "1gbit"),
    "size": ("1", "60b", "1kb", "1mb"),
    "segment classes": ("all", "data+fin", "pure-ack+handshake-ack", "syn"),
    "packets or bytes": ("none", "1", "5", "1kb"),
    "uniform|normal|pareto|paretonormal|FILE.dist": ("uniform", "normal", "pareto", "paretonormal"),
}


def values_of(option: Option) -> st.SearchStrategy[str]:
    """Ways in which this option may be given."""
    if option.kind in VALUES:
        return st.sampled_from(VALUES[option.kind])
    choices = option.kind.split("|")
    assert option.format(option.default) in choices, (
        f"say in this test what an option of kind '{option.kind}' may be given as"
    )
    return st.sampled_from(choices)


@cache
def options(name: str, *, without: frozenset[str] = frozenset()) -> st.SearchStrategy[dict[str, str]]:
    """Any options of a policy."""
    found = {key: option for key, option in options_of(find(name)).items() if key not in without}
    return st.fixed_dictionaries({}, optional={key: values_of(option) for key, option in found.items()})


@cache
def specs(name: str, *, without: frozenset[str] = frozenset()) -> st.SearchStrategy[str]:
    """The policy with any options."""
    return options(name, without=without).map(
        lambda given: f"{name}:" + ",".join(f"{key}={value}" for key, value in given.items())
    )


Change = tuple[int, dict[str, str]]
"""After how many packets which options are changed."""


@cache
def changes(name: str, *, without: frozenset[str] = frozenset()) -> st.SearchStrategy[list[Change]]:
    """Up to four changes of a policy's options."""
    return st.lists(st.tuples(st.integers(0, 40), options(name, without=without)), max_size=4)


REFUSED = ("scope can't be changed", "whether the real reader is watched")


def change(core: Core, given: dict[str, str], now: int) -> None:
    """Change these options of the first stage, unless it has refused for a known reason."""
    try:
        core.change(core.names[0], parse_options(core.prototypes[0], given), now, given)
    except ChangeError as error:
        if not any(reason in str(error) for reason in REFUSED):
            raise


LONGEST = 24 * 3600 * s
"""The longest hold (ns): longer than any that the values above can add up to."""


def play(
    policy: Policy, packets: list[Packet], changes: Sequence[Change] = (), *, seed: int = 0
) -> tuple[Core, list[Verdict]]:
    """All packets and changes through a core, until nothing is held."""
    core = Core([policy], seed=seed, max_hold=LONGEST)
    verdicts: list[Verdict] = []
    for number, packet in enumerate(packets):
        for after, given in changes:
            if after == number:
                change(core, given, packet.arrived)
        core.receive(packet, packet.arrived)
        verdicts += core.due(packet.arrived)
    last = packets[-1].arrived if packets else 0
    while (deadline := core.next_deadline()) is not None and deadline < last + LONGEST:
        verdicts += core.due(deadline)
    # A packet that the policy forgot would be held until now.
    assert (core.counts.held, core.counts.cut_short) == (0, 0)
    return core, verdicts + core.close()


def check_each_has_a_verdict(core: Core, packets: list[Packet], verdicts: list[Verdict]) -> None:
    """No exception, one verdict for each packet, and none before the packet came."""
    assert [str(failure) for failure in core.failures] == []
    taken = sorted(verdict.packet.root.id for verdict in verdicts if verdict.fate != "injected")
    assert taken == [packet.id for packet in packets]
    assert all(verdict.planned >= verdict.packet.root.arrived for verdict in verdicts)


DISORDERLY = ("fates", "reorder", "slow_close")
"""Policies that don't promise to keep the order of a flow's packets."""
ABOUT_ORDER = frozenset({"order", "reorder", "only"})
"""Options that others don't keep it with."""


def check_order(verdicts: list[Verdict]) -> None:
    """The packets of a flow went in the order in which they came."""
    flows: dict[Any, list[int]] = {}
    for verdict in verdicts:
        if verdict.fate == "sent":
            # A SYN with another sequence number opens another connection with the same ports.
            flows.setdefault(verdict.packet.flow_state, []).append(verdict.packet.root.id)
    for sent in flows.values():
        assert sent == sorted(sent)
