"""The highest rate of packets that a subject sustains without losing one, and what each costs in CPU time."""

from collections.abc import Iterator
from typing import NamedTuple

from rich.table import Table

from bench.load import Load
from bench.plan import Figures, Found, Plan, interleave_conditions, say
from bench.programs import BenchError
from bench.subjects import Subject, throughput_subjects
from bench.trial import Trial

SECOND = 1_000_000_000
STEP = 0.95
SEARCH = 0.6
"""Seconds of a run that looks for the limit."""
FIXED_RATE = 60_000
LEAST = 100
BACKLOG = 20_000_000
"""Latency beyond the wanted hold, in ns, at the end of a run, that means the queue was growing."""
IN_TARGETS = {"C accept loop", "shaper pass_through", "shaper delay 20 ms", "NetfilterQueue + scapy"}


class Condition(NamedTuple):
    length: int
    flows: int

    def __str__(self) -> str:
        return f"{self.length} bytes, {self.flows} flow{'s'[: self.flows > 1]}"


MAIN = Condition(64, 1)
CONDITIONS = [MAIN, Condition(64, 64), Condition(1400, 1), Condition(1400, 64)]


def measure(plan: Plan) -> Figures:
    """What the targets need is sustained for `plan.seconds` in every round.

    Of all else the limit is looked for in every round, and the median of what was found is
    sustained so long once, in the end; the rate goes down until it is.
    """
    conditions = CONDITIONS[:1] if plan.quick else CONDITIONS
    subjects = throughput_subjects()
    figures = interleave_conditions(
        plan.rounds, subjects, lambda subject: limits(subject, conditions, plan), lambda subject: subject.name
    )
    if not plan.quick:
        sustained = interleave_conditions(
            1, subjects, lambda subject: confirm(subject, figures, plan.seconds), lambda subject: subject.name
        )
        for condition, found in sustained.items():
            for name, confirmed in found.items():
                figures[condition][name] |= confirmed
    return figures


def expected(plan: Plan) -> float:
    subjects, targets, conditions = len(throughput_subjects()), len(IN_TARGETS), 1 if plan.quick else len(CONDITIONS)
    rounds = plan.rounds * (subjects * (4 + 3 * conditions) + targets * 1.3 * plan.seconds)
    return rounds + (0 if plan.quick else (subjects * conditions - targets) * (1 + 1.4 * plan.seconds))


def limits(subject: Subject, conditions: list[Condition], plan: Plan) -> Iterator[tuple[str, Found]]:
    """The highest rate at which a run loses nothing and lets no queue grow.

    Raises:
        BenchError: the subject can't run, or the counts of sender, subject and receiver differ in the end.
    """
    found: dict[str, Found] = {}
    with Trial(subject) as trial:
        trial.load(rate=1000, seconds=0.3)
        for condition in conditions:
            if not found:
                rate = 0.9 * estimate(trial, condition)
            rate, cost = climb(trial, condition, rate)
            if condition == MAIN and subject.name in IN_TARGETS:
                rate, cost = sustain(trial, condition, rate, plan.seconds)
            figures = found[str(condition)] = {"rate": rate, "cpu_us": cost}
            if condition == MAIN and rate > FIXED_RATE:
                kept, cost = run(trial, condition, FIXED_RATE, min(plan.seconds, 2))
                if kept:
                    figures["cpu_us_at_60k"] = cost
        compare_counts(trial)
    yield from found.items()


def confirm(subject: Subject, figures: Figures, seconds: float) -> Iterator[tuple[str, Found]]:
    """The rates found, sustained."""
    with Trial(subject) as trial:
        trial.load(rate=1000, seconds=0.3)
        found = {}
        for condition in CONDITIONS:
            known = figures.get(str(condition), {}).get(subject.name)
            if known and not (condition == MAIN and subject.name in IN_TARGETS):
                found[str(condition)] = {"rate": sustain(trial, condition, known["rate"], seconds)[0]}
        compare_counts(trial)
    yield from found.items()


def estimate(trial: Trial, condition: Condition) -> float:
    """As fast as it goes with a bounded number of packets on the way: overflows nothing."""
    window = 2048 + trial.subject.hold * 400_000 // SECOND
    return trial.load(seconds=SEARCH, window=window, patience=5 * SECOND, **condition._asdict()).rate


def climb(trial: Trial, condition: Condition, rate: float) -> tuple[float, float]:
    """The highest rate, in steps, that a short run keeps up with, and the CPU time per packet there."""
    best: tuple[float, float] | None = None
    failed = False
    while best is None or not failed:
        kept, cost = run(trial, condition, rate, SEARCH)
        if kept:
            best = rate, cost
        failed |= not kept
        rate *= STEP if failed else 1 / STEP
    return best


def sustain(trial: Trial, condition: Condition, rate: float, seconds: float) -> tuple[float, float]:
    """The first rate, from this one down, that a long run keeps up with, and the CPU time per packet."""
    while True:
        kept, cost = run(trial, condition, rate, seconds)
        if kept:
            return rate, cost
        rate *= STEP


def run(trial: Trial, condition: Condition, rate: float, seconds: float) -> tuple[bool, float]:
    """Whether the subject kept up, and its CPU time per packet.

    Raises:
        BenchError: it can't keep up with anything.
    """
    if rate < LEAST:
        raise BenchError(f"can't keep up with {LEAST} packets/s, {condition}")
    result, cost = trial.load_and_cost(rate=rate, seconds=seconds, **condition._asdict())
    return keeps_up(trial.subject, result, rate), cost


def keeps_up(subject: Subject, result: Load, rate: float) -> bool:
    """Nothing lost, the sender kept its pace, and at the end packets waited no longer than they should."""
    return (
        result.received == result.sent
        and result.seconds * rate < result.sent * 1.02
        and result.end_p50 < subject.hold + BACKLOG
    )


def compare_counts(trial: Trial) -> None:
    """All that was sent was taken or found no room, while searching; nothing went by the subject.

    Raises:
        BenchError: the counts differ.
    """
    counts = trial.stop()
    elsewhere = counts.queue_full + counts.buffer_full + counts.receiver_full
    if counts.taken + counts.queue_full + counts.buffer_full != counts.sent:
        raise BenchError(f"{counts}: sender and subject disagree")
    if counts.received != counts.sent - elsewhere:
        say(f"{trial.subject.name}: lost while searching, and not for want of room ({counts})")


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
