"""The highest rate of packets that a subject sustains without loss, and the CPU time that each packet costs."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from rich.table import Table

from bench.compiled import BenchError
from bench.load import Load
from bench.plan import Figures, Found, Plan, interleave_conditions, say
from bench.subjects import Subject, throughput_subjects
from bench.trial import Trial

SECOND = 1_000_000_000
STEP = 0.95
PACE = 0.98
"""A sender that reaches less than this share of the rate it was asked for can do no more."""
SEARCH = 0.6
"""The length, in seconds, of a run that looks for the limit."""
FIXED_RATE = 60_000
ROW = 16
"""How many packets of a flow are sent in one piece, if that many are due; then it is the next flow's turn."""
LEAST = 100
BACKLOG = 20_000_000
"""A latency this much (ns) beyond the wanted hold, at the end of a run, means that the queue was growing."""
IN_TARGETS = {
    "C accept loop",
    "C accept loop, batched verdicts",
    "shaper pass_through",
    "shaper delay 20 ms",
    "NetfilterQueue + scapy",
}


class PacketMix(NamedTuple):
    """What is sent: IP packets of `length` bytes, from `flows` flows in turn."""

    length: int
    flows: int

    def __str__(self) -> str:
        return f"{self.length} bytes, {self.flows} flow{'s'[: self.flows > 1]}"


MAIN = PacketMix(64, 1)
CONDITIONS = [MAIN, PacketMix(64, 64), PacketMix(1400, 1), PacketMix(1400, 64)]


def measure(plan: Plan) -> Figures:
    """Conditions -> subjects -> packets/s and CPU time per packet."""
    return sustained(plan, throughput_subjects(), CONDITIONS[:1] if plan.quick else CONDITIONS, IN_TARGETS)


def expected(plan: Plan) -> float:
    return seconds_for(plan, len(throughput_subjects()), 1 if plan.quick else len(CONDITIONS), len(IN_TARGETS))


def sustained(
    plan: Plan, subjects: list[Subject], conditions: list[PacketMix], in_targets: Collection[str] = ()
) -> Figures:
    """The highest rates at which nothing is lost and no queue grows.

    Under the first condition, the subjects of targets sustain their rate for `plan.seconds` in
    every round. For all others the limit is searched in every round; in the end, the median of
    the rates found is sustained once for `plan.seconds`, and lowered until it can be.
    """

    def limits(subject: Subject) -> Iterator[tuple[str, Found]]:
        found: dict[str, Found] = {}
        with warm(subject) as trial:
            for condition in conditions:
                if not found:
                    rate = 0.9 * estimate(trial, condition)
                best = climb(trial, condition, rate)
                if not found and subject.name in in_targets:
                    best = sustain(trial, condition, best.rate, plan.seconds)
                rate = best.rate
                figures = {"rate": rate, "cpu_us": best.cost}
                if not found and rate > FIXED_RATE:
                    fixed = run(trial, condition, FIXED_RATE, min(plan.seconds, 2))
                    figures |= {"cpu_us_at_60k": fixed.cost} if fixed.kept else {}
                found[str(condition)] = figures
            compare_counts(trial)
        yield from found.items()

    def confirmed(subject: Subject) -> Iterator[tuple[str, Found]]:
        found: dict[str, Found] = {}
        with warm(subject) as trial:
            for condition in conditions[subject.name in in_targets :]:
                if known := figures.get(str(condition), {}).get(subject.name):
                    found[str(condition)] = {"rate": sustain(trial, condition, known["rate"], plan.seconds).rate}
            compare_counts(trial)
        yield from found.items()

    figures = interleave_conditions(plan.rounds, subjects, limits, lambda subject: subject.name)
    if plan.quick:
        return figures
    say("now the rates found are sustained")
    long = interleave_conditions(1, subjects, confirmed, lambda subject: subject.name)
    for nth, condition in enumerate(map(str, conditions)):
        known, kept = figures.get(condition, {}), long.get(condition, {})
        figures[condition] = {
            name: each | kept.get(name, {})
            for name, each in known.items()
            if name in kept or (nth == 0 and name in in_targets)
        }
    return figures


def seconds_for(plan: Plan, subjects: int, conditions: int, in_targets: int = 0) -> float:
    """About how many seconds `sustained` takes."""
    rounds = plan.rounds * (subjects * (3 + 2.1 * conditions) + in_targets * 1.3 * plan.seconds)
    return rounds + (0 if plan.quick else subjects + (subjects * conditions - in_targets) * 1.3 * plan.seconds)


@contextmanager
def warm(subject: Subject) -> Iterator[Trial]:
    """A subject that has seen packets already.

    Raises:
        BenchError: it can't start.
    """
    with Trial(subject) as trial:
        trial.load(rate=1000, seconds=0.3)
        yield trial


def estimate(trial: Trial, condition: PacketMix) -> float:
    """The rate with a bounded number of packets on their way, which overflows nothing."""
    window = 2048 + trial.subject.hold * 400_000 // SECOND
    return trial.load(seconds=SEARCH, window=window, patience=5 * SECOND, row=ROW, **condition._asdict()).rate


class Attempt(NamedTuple):
    """An attempt at a rate: whether the subject kept up, the packets/s that were sent, CPU time per packet in µs.

    The sender may be slower than asked: it shares the machine with the subject.
    """

    kept: bool
    rate: float
    cost: float

    def reached(self, rate: float) -> bool:
        """Whether the subject kept up at this rate, or nearly."""
        return self.kept and self.rate > PACE * rate


def climb(trial: Trial, condition: PacketMix, rate: float) -> Attempt:
    """The short run with the highest rate, in steps, that the subject keeps up with.

    On the way up only a second failure counts: the first may be the machine's fault.
    """
    best: Attempt | None = None
    failed = False
    while best is None or not failed:
        runs = [run(trial, condition, rate, SEARCH)]
        if not failed and not runs[0].reached(rate):
            runs.append(run(trial, condition, rate, SEARCH))
        kept = [each for each in runs if each.kept]
        best = max(kept + ([best] if best else []), key=lambda each: each.rate, default=None)
        failed |= not any(each.reached(rate) for each in runs)
        rate *= STEP if failed else 1 / STEP
    return best


def sustain(trial: Trial, condition: PacketMix, rate: float, seconds: float) -> Attempt:
    """The first long run, from this rate down, that the subject keeps up with."""
    while True:
        found = run(trial, condition, rate, seconds)
        if found.kept:
            return found
        rate *= STEP


def run(trial: Trial, condition: PacketMix, rate: float, seconds: float) -> Attempt:
    """Send at this rate, if the sender can.

    Raises:
        BenchError: the subject can't keep up with anything.
    """
    if rate < LEAST:
        raise BenchError(f"can't keep up with {LEAST} packets/s, {condition}")
    result, cost = trial.load_and_cost(rate=rate, seconds=seconds, row=ROW, **condition._asdict())
    return Attempt(keeps_up(trial.subject, result), result.sent / result.seconds, cost)


def keeps_up(subject: Subject, result: Load) -> bool:
    """Whether nothing was lost, and packets waited no longer than they should at the end."""
    return result.received == result.sent and result.end_p50 < subject.hold + BACKLOG


def compare_counts(trial: Trial) -> None:
    """Check that all that was sent was taken or found no room: nothing passed the subject by.

    Of packets sent in one piece, the kernel drops all from the first one that finds no room, and counts only that
    one: nfqnl_enqueue_packet() in net/netfilter/nfnetlink_queue.c.

    Raises:
        BenchError: the counts differ.
    """
    counts = trial.stop()
    full = counts.queue_full + counts.buffer_full
    if not full <= counts.sent - counts.taken <= full * ROW:
        raise BenchError(f"{counts}: sender and subject disagree")
    if counts.received != counts.taken - counts.receiver_full:
        say(f"{trial.subject.name}: lost while searching, although there was room ({counts})")


def tables(figures: Figures) -> list[Table]:
    return [table(condition, subjects) for condition, subjects in figures.items()]


def table(condition: str, subjects: dict[str, Found]) -> Table:
    table = Table(title=f"Throughput, UDP, {condition}, not one packet lost", title_justify="left")
    table.add_column("subject")
    for column in ("packets/s", "÷ C accept", "CPU µs/packet", "at 60 k/s"):
        table.add_column(column, justify="right")
    base = subjects.get("C accept loop", {}).get("rate")
    for name, found in subjects.items():
        ratio = f"{found['rate'] / base:.2f}" if base else "-"
        at_60k = f"{found['cpu_us_at_60k']:.1f}" if "cpu_us_at_60k" in found else "-"
        table.add_row(name, f"{found['rate']:,.0f}", ratio, f"{found['cpu_us']:.1f}", at_60k)
    return table
