"""Tests of a policy before it meets real traffic.

Its stories are run, and then generated traffic, through the core in virtual time: a mix of
conversations, datagrams, fragments and junk, made from a seed.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import cache
from random import Random
from typing import NamedTuple

from shaper.check.purity import Witness, impurities
from shaper.core.core import Core
from shaper.core.virtual import play
from shaper.policy.base import Policy
from shaper.spec.load import load
from shaper.timeline import StoryError, check, stories_of
from shaper.timeline.packet_spec import Ends, PacketSpec, bytes_of
from shaper.units import ms, s
from shaper.wire.header import ACK, FIN, PSH, RST, SYN
from shaper.wire.packet import Packet

PACKETS = 10_000
SEED = 1
LONGEST = 60 * s
"""Long enough, in ns, for everything held to be sent or cut short."""

Fate = tuple[str, int, bytes]
"""The fate, the planned time (ns) and the bytes of a verdict."""


class Findings(NamedTuple):
    """What was found.

    Attributes:
        stories: how many stories the docstring has.
        otherwise: those with another outcome, each with the difference as a text for people.
        packets: how many were generated.
        rate: packets per second through the policy, on this machine.
        forgotten: packets that it held until the longest hold was over.
        differs: the first packet whose fate differed between two runs with the same seed; those that the policy made
            are -1, -2 and so on. None if there is none.
        failure: the first failure of the policy, in one line.
        impure: uses of the clock, of randomness or of I/O, each with its line.
    """

    stories: int
    otherwise: tuple[str, ...]
    packets: int
    rate: float
    forgotten: int
    differs: int | None
    failure: str | None
    impure: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether there is nothing to fix."""
        return self.differs is None and not (self.otherwise or self.forgotten or self.failure or self.impure)


def examine(spec: str, packets: int = PACKETS) -> Findings:
    """Test a policy with its stories and with generated traffic.

    Args:
        spec: the policy.
        packets: how many to generate.

    Raises:
        LoadError: the policy can't be loaded.
    """
    policy = load(spec)
    # The stories come last: what the policy keeps from them, such as the content of a file, would hide how it got it.
    with Witness(type(policy)) as witness:
        core, first, took = _fates(policy, packets)
        again, second, _ = _fates(policy, packets)
    stories, otherwise = _stories(type(policy))
    failures = core.failures or again.failures
    return Findings(
        stories,
        otherwise,
        packets,
        packets / took,
        core.counts.cut_short,
        _difference(first, second),
        str(failures[0]) if failures else None,
        tuple(f"line {line} {what}" for line, what in sorted((witness.seen | impurities(type(policy))).items())),
    )


def _stories(policy: type[Policy]) -> tuple[int, tuple[str, ...]]:
    """How many stories the docstring has, and the differences of those with another outcome."""
    try:
        stories = stories_of(policy)
        outcomes = [check(story) for story in stories]
    except StoryError as error:
        return 0, (f"its story can't be read: {error}",)
    return len(stories), tuple(outcome for outcome in outcomes if outcome)


def _fates(policy: Policy, packets: int) -> tuple[Core, dict[int, Fate], float]:
    """The core afterwards, the fate of each packet by its number, in order of time, and how many seconds that took.

    Packets that the policy made have the numbers -1, -2 and so on.
    """
    core = Core([policy], seed=SEED)
    fates: dict[int, Fate] = {}
    arrivals = list(traffic(packets))
    made = 0
    begin = time.perf_counter()
    for verdict in play(core, arrivals, rest=LONGEST, stops_empty=True):
        made += verdict.fate == "injected"
        fates[verdict.packet.root.id or -made] = (verdict.fate, verdict.planned, verdict.packet.raw)
    return core, fates, time.perf_counter() - begin


def _difference(first: dict[int, Fate], second: dict[int, Fate]) -> int | None:
    """The first packet that has another fate, or else another place, in the second run; None if there is none."""
    other_fate = (number for number in first | second if first.get(number) != second.get(number))
    other_place = (number for number, other in zip(first, second, strict=True) if number != other)
    return next(other_fate, None) or next(other_place, None)


def traffic(packets: int, seed: int = SEED) -> Iterator[Packet]:
    """Packets of many kinds, in order of arrival: half of them in bursts, most of them TCP.

    Args:
        packets: how many.
        seed: decides all of them.
    """
    for number, (raw, arrived) in enumerate(_arrivals(packets, seed), 1):
        yield Packet(raw, id=number, arrived=arrived)


@cache
def _arrivals(packets: int, seed: int) -> list[tuple[bytes, int]]:
    """Bytes and arrival times (ns); cached, since making them takes longer than shaping them."""
    random, now = Random(seed), 0
    numbers: dict[Ends, int] = {}
    arrivals = []
    for number in range(1, packets + 1):
        now += random.choice((0, 0, 0, ms // 10, ms, 20 * ms))
        arrivals.append((_raw(random, number, numbers), now))
    return arrivals


def _raw(random: Random, number: int, numbers: dict[Ends, int]) -> bytes:
    if random.random() < 0.02:
        return random.randbytes(random.randrange(60))
    addresses = random.choice((("192.0.2.1", "192.0.2.9"), ("2001:db8::1", "2001:db8::9")))
    ends = Ends(addresses[0], random.randrange(40000, 40020), addresses[1], 80)
    if random.random() < 0.5:
        ends = ends.reverse
    kind = random.choices(("tcp", "udp", "icmp", "fragment", "other"), (80, 10, 4, 4, 2))[0]
    if kind != "tcp":
        return bytes_of(PacketSpec(kind, random.randrange(1400)), ends, number)
    flags = random.choices((ACK, ACK | PSH, SYN, SYN | ACK, FIN | ACK, RST), (60, 20, 5, 5, 5, 5))[0]
    payload = random.choice((0, 0, 1, 100, 1448)) if not flags & (SYN | RST) else 0
    sequence = numbers.get(ends, 1)
    numbers[ends] = sequence + payload
    acked = numbers.get(ends.reverse, 1) if flags & ACK else 0
    return bytes_of(PacketSpec("tcp", payload, flags, sequence, acked), ends, number)
