"""The search: which fates are tried, one set after the other, until a program fails; then the fewest that suffice.

No trial is run here. `Hunt.attempts` yields fates and is sent what a trial with them has shown; only that and the seed
decide what comes next. It goes from what says most to what says least:

1. undisturbed: the program must pass, and shows its packets;
2. what earlier hunts have found;
3. each single packet of the undisturbed run: dropped, late, twice, swapped with the next one;
4. pairs: first a fate together with one of a packet that only this fate brought about, such as a retransmission;
5. any fates at random, of all packets seen so far.

A failure counts if it comes again. Then it shrinks: fates are left out and holds are shortened, as long as the program
still fails in the same way, twice in a row. This is not left to Hypothesis. A schedule has five fates at most, so
leaving out one after the other takes some ten trials. A general shrinker makes hundreds, and each costs a process and a
network. Nor could Hypothesis use the order above: it generates without knowing the packets of the undisturbed run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Sequence
from itertools import combinations, product
from random import Random
from typing import NamedTuple, TypeVar

from shaper.policy.fate import Fate
from shaper.units import ms, s
from shaper.wire.naming import PacketName

UNDISTURBED = 3
"""How often the program must pass without any fate."""
CONFIRMATIONS = 10
"""How often the smallest failure is repeated at the end."""
LATE = 300 * ms
"""How long a late packet is held, in ns: longer than TCP's least retransmission timeout on Linux, 200 ms."""
HOLDS = (1 * ms, 5 * ms, 20 * ms, 50 * ms, 100 * ms, 200 * ms, 500 * ms, 1 * s, 2 * s, 5 * s)
"""The holds (ns) that are tried instead of a longer one when a failure shrinks."""
PAIRS = 200
"""The most pairs that are tried beside those of a packet and what its fate brought about."""
MOST = 5
"""The most fates of a random attempt."""
REPEATS = 100
"""After this many random choices in a row that were tried already, the search ends."""

CARRIERS = frozenset({"syn", "synack", "data", "fin", "udp", "icmp"})
"""Classes whose packets carry something: what becomes of them matters more often than the fate of an ACK."""

T = TypeVar("T")
Schedule = tuple[Fate, ...]


class Attempt(NamedTuple):
    """What is tried next.

    Attributes:
        fates: of the trial's packets; none for an undisturbed run.
        phase: "undisturbed", "known", "single", "pair", "random", "again", "shrink", "confirm".
        nth, of: which attempt of its phase this is, from 1; and of how many, 0 if that isn't known.
    """

    fates: Schedule
    phase: str
    nth: int
    of: int = 0


class Seen(NamedTuple):
    """What a trial has shown.

    Attributes:
        failure: how the program failed: "exit status 1", "timed out"; empty if it passed.
        packets: the names of its packets, in order of arrival.
        anywhere: the same names without services.
    """

    failure: str
    packets: tuple[PacketName, ...] = ()
    anywhere: tuple[PacketName, ...] = ()


class Found(NamedTuple):
    """Fates under which the program fails.

    Attributes:
        fates: the fewest that were found; none if the program fails undisturbed.
        failure: how it fails, see `Seen`.
        failed, runs: how often it failed, in how many repetitions at the end.
        first: the fates with which it failed first.
    """

    fates: Schedule
    failure: str
    failed: int
    runs: int
    first: Schedule


Attempts = Generator[Attempt, Seen, T]


class Hunt:
    """A search for the smallest misfortune of packets under which a program fails.

    Args:
        seed: decides what is tried at random.
        known: what earlier hunts have found.
        late: how long a late packet is held, in ns.
        confirmations: how often the smallest failure is repeated.

    Attributes:
        found: the failure, as far as it is known; None as long as there is none.
        flukes: failures that did not come again.
        packets: those of the undisturbed run that have the same name in each.
        trials: how many attempts have been made.
    """

    def __init__(
        self,
        *,
        seed: str = "0",
        known: Iterable[Schedule] = (),
        late: int = LATE,
        confirmations: int = CONFIRMATIONS,
    ) -> None:
        self.found: Found | None = None
        self.flukes: list[tuple[Schedule, str]] = []
        self.packets: tuple[PacketName, ...] = ()
        self.trials = 0
        self._random = Random(f"{seed}|hunt")
        self._known = list(known)
        self._late = late
        self._confirmations = confirmations
        self._has_services = True
        self._tried: set[frozenset[Fate]] = set()
        # Packets that were not in the undisturbed run, each with the fate that brought it about.
        self._children: list[tuple[Fate, PacketName]] = []

    def attempts(self) -> Attempts[None]:
        """What to try, in order; send each attempt's result. Ends when a failure is confirmed, or nothing is left."""
        yield from self._undisturbed()
        if self.found is not None:
            return
        for phase in (self._before(), self._singles(), self._pairs(), self._at_random()):
            for attempt in phase:
                key = frozenset(attempt.fates)
                if key in self._tried:
                    continue
                self._tried.add(key)
                seen = yield from self._try(attempt)
                self._learn(attempt.fates, seen)
                if seen.failure and (yield from self._comes_again(attempt.fates, seen.failure)):
                    yield from self._shrink(attempt.fates, seen.failure)
                    return

    # The parts of the search.

    def _try(self, attempt: Attempt) -> Attempts[Seen]:
        seen = yield attempt
        self.trials += 1
        return seen

    def _undisturbed(self) -> Attempts[None]:
        runs = []
        for nth in range(UNDISTURBED):
            runs.append((yield from self._try(Attempt((), "undisturbed", nth + 1, UNDISTURBED))))
        failures = [seen.failure for seen in runs if seen.failure]
        if failures:
            self.found = Found((), failures[0], len(failures), UNDISTURBED, ())
            return
        # Services on ports that the kernel chose have another name in each run.
        services = [{name.service for name in seen.packets} for seen in runs]
        self._has_services = services.count(services[0]) == len(runs)
        rest = [set(self._names(seen)) for seen in runs[1:]]
        self.packets = tuple(name for name in self._names(runs[0]) if all(name in names for names in rest))

    def _names(self, seen: Seen) -> tuple[PacketName, ...]:
        return seen.packets if self._has_services else seen.anywhere

    def _before(self) -> Iterator[Attempt]:
        for nth, fates in enumerate(self._known, 1):
            yield Attempt(fates, "known", nth, len(self._known))

    def _singles(self) -> Iterator[Attempt]:
        fates = singles(self.packets, self._late)
        for nth, fate in enumerate(fates, 1):
            yield Attempt((fate,), "single", nth, len(fates))

    def _pairs(self) -> Iterator[Attempt]:
        bad = [Fate(name, "drop") for _, name in self._children], [self._held(name) for _, name in self._children]
        pairs = [(first, second) for each in bad for (first, _), second in zip(self._children, each, strict=True)]
        carriers = [name for name in self.packets if name.kind in CARRIERS]
        others = [
            pair
            for one, two in combinations(carriers, 2)
            for pair in product((Fate(one, "drop"), self._held(one)), (Fate(two, "drop"), self._held(two)))
        ]
        pairs += self._random.sample(others, min(len(others), PAIRS))
        for nth, pair in enumerate(pairs, 1):
            yield Attempt(pair, "pair", nth, len(pairs))

    def _at_random(self) -> Iterator[Attempt]:
        random = self._random
        pool = list(dict.fromkeys([*self.packets, *(name for _, name in self._children)]))
        nth = repeats = 0
        while pool and repeats < REPEATS:
            count = random.randint(1, min(MOST, len(pool)))
            fates = tuple(self._any(name) for name in sorted(random.sample(pool, count), key=pool.index))
            repeats = repeats + 1 if frozenset(fates) in self._tried else 0
            if not repeats:
                nth += 1
                yield Attempt(fates, "random", nth)

    def _held(self, name: PacketName) -> Fate:
        return Fate(name, "hold", self._late)

    def _any(self, name: PacketName) -> Fate:
        late = self._late * self._random.choice((1, 1, 4)) // self._random.choice((1, 1, 8))
        return self._random.choice(
            (Fate(name, "drop"), Fate(name, "hold", late), Fate(name, "twice"), Fate(name, "behind", 1))
        )

    def _learn(self, fates: Schedule, seen: Seen) -> None:
        if len(fates) == 1:
            known = {*self.packets, *(name for _, name in self._children)}
            self._children += [(fates[0], name) for name in self._names(seen) if name not in known]

    # A failure.

    def _comes_again(self, fates: Schedule, failure: str) -> Attempts[bool]:
        """Whether it fails again, in one of two more trials."""
        for nth in (1, 2):
            seen = yield from self._try(Attempt(fates, "again", nth, 2))
            if seen.failure == failure:
                self.found = Found(fates, failure, 2, 1 + nth, fates)
                return True
        self.flukes.append((fates, failure))
        return False

    def _shrink(self, first: Schedule, failure: str) -> Attempts[None]:
        """Find the smallest schedule that still fails in this way, and repeat it."""
        fates, tried = first, {first}
        while (candidate := next((each for each in smaller(fates) if each not in tried), None)) is not None:
            tried.add(candidate)
            if (yield from self._fails_twice(candidate, failure, len(tried) - 1)):
                fates = candidate
                self.found = Found(fates, failure, 2, 2, first)
        failed = 0
        for nth in range(1, self._confirmations + 1):
            seen = yield from self._try(Attempt(fates, "confirm", nth, self._confirmations))
            failed += seen.failure == failure
            self.found = Found(fates, failure, failed, nth, first)

    def _fails_twice(self, fates: Schedule, failure: str, nth: int) -> Attempts[bool]:
        for _ in range(2):
            seen = yield from self._try(Attempt(fates, "shrink", nth))
            if seen.failure != failure:
                return False
        return True


def singles(packets: Sequence[PacketName], late: int) -> list[Fate]:
    """Each fate of each single packet, from what is most likely to matter to what is least.

    Packets that carry something come first; of a long row of them the first three and the last. Of these, all are
    dropped, then all are late, sent twice, and swapped with the next one of their flow, if there is one.

    Args:
        packets: those of an undisturbed run, in order of arrival.
        late: how long a late packet is held, in ns.
    """
    flows = [name[:3] for name in packets]
    rows = Counter(name[:4] for name in packets)

    def wave(name: PacketName) -> int:
        if name.kind not in CARRIERS:
            return 2
        return 0 if name.nth <= 3 or name.nth == rows[name[:4]] else 1

    found = []
    for number in range(3):
        members = [(index, name) for index, name in enumerate(packets) if wave(name) == number]
        found += [Fate(name, "drop") for _, name in members]
        found += [Fate(name, "hold", late) for _, name in members]
        found += [Fate(name, "twice") for _, name in members]
        found += [Fate(name, "behind", 1) for index, name in members if flows[index] in flows[index + 1 :]]
    return found


def smaller(fates: Schedule) -> Iterator[Schedule]:
    """What may be enough instead: with one fate less, then with a shorter hold, then with fewer that overtake."""
    if len(fates) > 1:
        for index in range(len(fates)):
            yield fates[:index] + fates[index + 1 :]
    for index, fate in enumerate(fates):
        amounts = {"hold": HOLDS, "behind": range(1, fate.amount)}.get(fate.what, ())
        for amount in amounts:
            if amount < fate.amount:
                yield (*fates[:index], fate._replace(amount=amount), *fates[index + 1 :])
