"""What can be found out about a policy before it meets real traffic.

Its stories are run, then generated traffic: any mix of conversations, datagrams,
fragments and junk, from a seed, through the core in virtual time.
"""

from __future__ import annotations

import ast
import inspect
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from random import Random
from typing import NamedTuple

from shaper.core import Core
from shaper.header import ACK, FIN, PSH, RST, SYN
from shaper.load import load
from shaper.packet import Packet
from shaper.policy import Policy
from shaper.timeline import StoryError, check, stories_of
from shaper.timeline.look import Ends, Look, bytes_of
from shaper.units import ms, s

PACKETS = 10_000
SEED = 1

# Modules whose use makes a policy depend on more than its packets and their times, and what to use instead.
IMPURE = {
    "time": "use `now`, which every hook is given",
    "datetime": "use `now`, which every hook is given",
    "random": "use `self.random`, which the seed decides",
    "secrets": "use `self.random`, which the seed decides",
    "socket": "a policy does no I/O; return Send of a new Packet to inject one",
    "subprocess": "a policy does no I/O",
    "threading": "the core calls one hook at a time; return Wake to be called again",
    "asyncio": "the core calls one hook at a time; return Wake, or write a Script",
    "trio": "the core calls one hook at a time; return Wake, or write a Script",
}
Fate = tuple[str, int, bytes]
"""What a verdict says: fate, time, bytes."""

IMPURE_CALLS = {"open": "a policy does no I/O", "input": "a policy does no I/O"}


class Findings(NamedTuple):
    """What was found.

    Attributes:
        stories: how many the docstring tells.
        otherwise: those that went otherwise than told, each as a text for people.
        packets: how many were generated.
        rate: packets per second through the policy, here and now.
        forgotten: packets that it held until their time was over.
        differs: the first packet whose fate differed between two runs with one seed; None if none did.
        failure: the first failure of the policy, in one line.
        impure: uses of the clock, chance or I/O, each with its line.
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
        return not (self.otherwise or self.forgotten or self.differs or self.failure or self.impure)


def examine(spec: str, packets: int = PACKETS) -> Findings:
    """Put a policy through its stories and through generated traffic.

    Raises:
        LoadError: it can't be loaded.
    """
    policy = load(spec)
    told, otherwise = _stories(type(policy))
    core, first, took = _fates(policy, packets)
    _, second, _ = _fates(load(spec), packets)
    differs = next((number for number in first if first[number] != second.get(number)), None)
    failure = str(core.failures[0]) if core.failures else None
    impure = tuple(_impurities(type(policy)))
    return Findings(told, otherwise, packets, packets / took, core.cut_short, differs, failure, impure)


def _stories(policy: type[Policy]) -> tuple[int, tuple[str, ...]]:
    """How many stories the docstring tells, and those that went otherwise."""
    try:
        stories = stories_of(policy)
        outcomes = [check(story) for story in stories]
    except StoryError as error:
        return 0, (f"its story can't be read: {error}",)
    return len(stories), tuple(outcome for outcome in outcomes if outcome)


def _fates(policy: Policy, packets: int) -> tuple[Core, dict[int, Fate], float]:
    """What became of each packet, and how many seconds that took."""
    core = Core([policy], seed=SEED)
    fates: dict[int, Fate] = {}
    arrivals = list(traffic(packets))
    begin = time.perf_counter()
    for packet in arrivals:
        core.receive(packet, packet.arrived)
        for verdict in core.due(packet.arrived):
            fates[verdict.packet.root.id] = (verdict.fate, verdict.planned, verdict.packet.raw)
    # Long enough for everything held to be let go or be cut short; a timer that never rests doesn't count.
    end = packet.arrived + 60 * s
    while (deadline := core.next_deadline()) is not None and deadline <= end and core.held:
        for verdict in core.due(deadline):
            fates[verdict.packet.root.id] = (verdict.fate, verdict.planned, verdict.packet.raw)
    return core, fates, time.perf_counter() - begin


def traffic(packets: int, seed: int = SEED) -> Iterator[Packet]:
    """Packets of many kinds, in order of arrival: half of them in bursts, most of them TCP."""
    for number, (raw, arrived) in enumerate(_arrivals(packets, seed), 1):
        yield Packet(raw, id=number, arrived=arrived)


@cache
def _arrivals(packets: int, seed: int) -> list[tuple[bytes, int]]:
    """Bytes and times; to make them takes longer than to shape them."""
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
        return bytes_of(Look(kind, random.randrange(1400)), ends, number)
    flags = random.choices((ACK, ACK | PSH, SYN, SYN | ACK, FIN | ACK, RST), (60, 20, 5, 5, 5, 5))[0]
    payload = random.choice((0, 0, 1, 100, 1448)) if not flags & (SYN | RST) else 0
    sequence = numbers.get(ends, 1)
    numbers[ends] = sequence + payload
    acked = numbers.get(ends.reverse, 1) if flags & ACK else 0
    return bytes_of(Look("tcp", payload, flags, sequence, acked), ends, number)


def _impurities(policy: type[Policy]) -> Iterator[str]:
    """Imports and calls by which it would depend on more than packets and times."""
    try:
        file = inspect.getsourcefile(policy)
        tree = ast.parse(Path(file or "").read_text())
    except (OSError, TypeError):
        return
    for node in ast.walk(tree):
        if not isinstance(node, ast.Import | ast.ImportFrom | ast.Call):
            continue
        modules: list[str] = []
        if isinstance(node, ast.Import):
            modules = [alias.name.partition(".")[0] for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            modules = [(node.module or "").partition(".")[0]]
        elif isinstance(node.func, ast.Name) and node.func.id in IMPURE_CALLS:
            yield f"line {node.lineno} calls {node.func.id}(): {IMPURE_CALLS[node.func.id]}"
        for module in modules:
            if module in IMPURE:
                yield f"line {node.lineno} imports {module}: {IMPURE[module]}"
