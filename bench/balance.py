"""More CPUs than this machine has: how the kernel's hash loads the queues, and who waits for whose lock, simulated.

First it checks that queue_hash.py is the kernel's own hash. Then it draws secrets for that hash, and looks which queue
each pair of hosts gets. A queue belongs to an engine with a CPU of its own; the other CPUs have the traffic, each as
many pairs. The first of these CPUs that has no time left ends the growth of the rate: beyond it, packets are lost.
"""

import heapq
import random
import statistics
from collections import Counter, deque
from collections.abc import Sequence
from typing import NamedTuple

from rich.table import Table

from bench.compiled import BenchError
from bench.plan import Figures, Found, Plan, say
from bench.queue_hash import check, hashed, words
from shaper.live.front.balance import workers_for

CPUS = (2, 4, 8, 16, 32, 64)
PAIRS = (1, 8, 64, 512)
"""Pairs of hosts that speak TCP with each other. All send at the same rate."""
ENGINE = {"pass_through": 5.4, "delay 20 ms": 8.0}
"""µs for which one packet keeps an engine busy at the highest rate, with the lock: docs/performance.md, throughput."""
TRAFFIC = 3.5
"""µs for which it keeps another CPU busy: at 284,800 packets/s of C's batched loop, sender and receiver had no more."""
LOCK = 0.25
"""µs for which the queue's lock is held to enqueue a packet, and again for its verdict (perf, cpu-clock)."""
HANDED_OVER = 0.1
"""µs that two CPUs need more than one for a packet in the same queue, since the lock's cache line moves."""
UNDISTURBED = LOCK + HANDED_OVER
"""µs with the lock where there is one engine, and one CPU with traffic, as when these figures were measured."""
NEAR = 0.95
"""The share of the highest rate at which the locks are simulated."""
SECRETS = 100
SIMULATED = 20_000
"""Packets of one simulation."""
CHECK = 90
"""Seconds that the check of the hash takes, about."""


class Costs(NamedTuple):
    """What a packet costs, in µs.

    Attributes:
        traffic: on a CPU with traffic, outside of the queue's lock.
        engine: on the engine's CPU, outside of it.
        lock: while it is held, on either.
        handed_over: more, if another CPU had the lock before.
    """

    traffic: float
    engine: float
    lock: float = LOCK
    handed_over: float = HANDED_OVER


class Locked(NamedTuple):
    """The time with the lock, in µs per packet: waiting for it, getting it from another CPU, and holding it."""

    traffic: float
    engine: float


def simulate(costs: Costs, cpus: Sequence[int], queues: Sequence[int], rate: float, seed: int = 0) -> Locked:
    """What the locks cost, packet by packet.

    Args:
        cpus: the CPU with the traffic of each pair.
        queues: the queue of each pair.
        rate: packets per µs of all pairs together, at random times.
    """
    chance = random.Random(seed)
    waiting: dict[tuple[str, int], deque[int]] = {("traffic", cpu): deque() for cpu in cpus}
    waiting |= {("engine", queue): deque() for queue in queues}
    busy: set[tuple[str, int]] = set()
    work = {"traffic": costs.traffic, "engine": costs.engine}
    free = dict.fromkeys(queues, 0.0)
    last: dict[int, tuple[str, int]] = {}
    locked, done = {"traffic": 0.0, "engine": 0.0}, Counter[str]()
    events: list[tuple[float, str, tuple[str, int], int]] = []

    def arrive(who: tuple[str, int], pair: int) -> None:
        waiting[who].append(pair)
        go_on(who)

    def go_on(who: tuple[str, int]) -> None:
        if who not in busy and waiting[who]:
            busy.add(who)
            heapq.heappush(events, (now + work[who[0]], "needs the lock", who, waiting[who].popleft()))

    now, next_arrival = 0.0, 0.0
    while done["engine"] < SIMULATED:
        if not events or next_arrival < events[0][0]:
            now = next_arrival
            next_arrival += chance.expovariate(rate)
            pair = chance.randrange(len(queues))
            arrive(("traffic", cpus[pair]), pair)
            continue
        now, what, who, pair = heapq.heappop(events)
        queue = queues[pair]
        if what == "needs the lock":
            moves = costs.handed_over if last.get(queue, who) != who else 0
            free[queue] = max(now, free[queue]) + moves + costs.lock
            last[queue] = who
            locked[who[0]] += free[queue] - now
            heapq.heappush(events, (free[queue], "has had it", who, pair))
        else:
            done[who[0]] += 1
            busy.discard(who)
            go_on(who)
            if who[0] == "traffic":
                arrive(("engine", queue), pair)
    return Locked(*(locked[role] / done[role] for role in ("traffic", "engine")))


class Load(NamedTuple):
    """How loaded the busiest are, as shares of all packets."""

    queue: float
    cpu: float

    def most(self, costs: Costs, locked: Locked) -> float:
        """The highest rate, in packets per µs."""
        return min(1 / self.queue / (costs.engine + locked.engine), 1 / self.cpu / (costs.traffic + locked.traffic))


def spread(hashes: Sequence[int], cpus: int, workers: int) -> tuple[list[int], list[int]]:
    """The CPU with the traffic, and the queue, of each of the pairs with these hashes."""
    return [pair % max(1, cpus - workers) for pair in range(len(hashes))], [each * workers >> 32 for each in hashes]


def load(cpus: Sequence[int], queues: Sequence[int]) -> Load:
    """Of the busiest queue, and of the busiest CPU with traffic."""
    return Load(*(max(Counter(each).values()) / len(each) for each in (queues, cpus)))


def hashes_of(pairs: int) -> list[list[int]]:
    """The hashes of so many pairs, for each of some secrets."""
    chance = random.Random(0)
    ends = [words("192.0.2.1", f"10.0.{number >> 8}.{number & 255}", 6) for number in range(1, pairs + 1)]
    return [[hashed(each, secret) for each in ends] for secret in (chance.getrandbits(32) for _ in range(SECRETS))]


def measure(plan: Plan) -> Figures:
    """Conditions -> CPUs -> expected packets/s, and what is behind them."""
    figures: Figures = {}
    try:
        figures["hash"] = {"in this kernel": check()}
    except BenchError as error:
        say(f"not measured: the kernel's hash: {error}")
    for pairs in PAIRS:
        hashes = hashes_of(pairs)
        for cpus in CPUS:
            figures.setdefault(f"{pairs} pairs", {})[str(cpus)] = expect(cpus, hashes)
    return figures


def expect(cpus: int, hashes: Sequence[Sequence[int]]) -> Found:
    """What to expect of the workers of `--workers auto`, and of the best number of them; means over all secrets."""
    chosen = workers_for(cpus)
    found: Found = {"workers": chosen}
    loads = {workers: [load(*spread(each, cpus, workers)) for each in hashes] for workers in range(1, max(2, cpus))}
    found["queue"] = statistics.fmean(each.queue for each in loads[chosen])
    for policy, engine in ENGINE.items():
        costs = Costs(TRAFFIC - UNDISTURBED, engine - UNDISTURBED)
        most = loads[chosen][0].most(costs, Locked(UNDISTURBED, UNDISTURBED))
        locked = simulate(costs, *spread(hashes[0], cpus, chosen), NEAR * most)
        rates = {
            workers: 1e6 * statistics.fmean(each.most(costs, locked) for each in of) for workers, of in loads.items()
        }
        found |= {policy: rates[chosen], f"{policy}, best": max(rates.values())}
        found[f"{policy}, locks"] = locked.engine + locked.traffic
    return found


def expected(plan: Plan) -> float:
    return CHECK + 30


def tables(figures: Figures) -> list[Table]:
    made = []
    if "hash" in figures:
        table = Table(title="The kernel's hash", title_justify="left")
        for column in ("packets", "of one secret", "secrets", "pairs split"):
            table.add_column(column, justify="right")
        found = figures["hash"]["in this kernel"]
        table.add_row(*(f"{found[key]:.0f}" for key in ("packets", "explained", "secrets", "split")))
        made.append(table)
    table = Table(title="1,000 packets/s with --workers auto, simulated", title_justify="left")
    for column in ("CPUs", "workers", "pairs", "busiest", *ENGINE, "÷ best", "locks, µs"):
        table.add_column(column, justify="right")
    for cpus in map(str, CPUS):
        for pairs in PAIRS:
            if (found := figures.get(f"{pairs} pairs", {}).get(cpus)) is None:
                continue
            rates = (f"{found[policy] / 1000:,.0f}" for policy in ENGINE)
            best = min(found[policy] / found[f"{policy}, best"] for policy in ENGINE)
            locks = max(found[f"{policy}, locks"] for policy in ENGINE)
            row = (cpus, f"{found['workers']:.0f}", f"{pairs}", f"{found['queue']:.1%}", *rates)
            table.add_row(*row, f"{best:.2f}", f"{locks:.2f}")
    return [*made, table]
