"""How late packets leave: receipt - sending - wanted hold, with the time in the kernel included."""

from collections.abc import Iterator
from functools import partial

from rich.table import Table

from bench.compiled import BenchError
from bench.plan import Figures, Found, Plan, interleave_conditions, spread
from bench.subjects import MS, Subject, hold_subjects, no_queue
from bench.trial import Trial

SECONDS = {100: 2.0, 1_000: 1.5, 5_000: 1.0, 20_000: 1.0, 60_000: 0.7}
"""Packets/s -> for how many seconds; the rates rise, so a subject that fails at one has done those before."""
HOLDS = [10 * MS, 100 * MS]
OFF_BEAT = 0.9937
"""Real rates are lower by this factor: with a whole number of packets in a hold, each would leave as another comes."""


def measure(plan: Plan) -> Figures:
    """Holds and rates -> subjects -> lateness in µs."""
    figures: Figures = {}
    for hold in HOLDS[:1] if plan.quick else HOLDS:
        figures |= interleave_conditions(
            plan.rounds,
            subjects(hold),
            partial(at_all_rates, hold=hold, plan=plan),
            lambda subject: subject.name,
        )
    return figures


def expected(plan: Plan) -> float:
    each = sum(SECONDS[rate] + 0.1 for rate in rates(plan)) + 1.3
    return plan.rounds * len(subjects(0)) * each * (1 if plan.quick else len(HOLDS))


def subjects(hold: int) -> list[Subject]:
    """No queue, and the subjects that hold for this long (ns)."""
    return [no_queue(), *hold_subjects(hold)]


def rates(plan: Plan) -> list[int]:
    """The rates to measure, in packets/s."""
    return [1_000, 20_000] if plan.quick else list(SECONDS)


def at_all_rates(subject: Subject, hold: int, plan: Plan) -> Iterator[tuple[str, Found]]:
    """The lateness of a subject at each rate, with the name of the condition."""
    with Trial(subject) as trial:
        trial.load(rate=1000, seconds=0.3)
        for rate in rates(plan):
            yield f"{hold // MS} ms hold, {rate} packets/s", lateness(trial, rate * OFF_BEAT, SECONDS[rate])


def lateness(trial: Trial, rate: float, seconds: float, *, beside_others: bool = False) -> Found:
    """Lateness in µs at a rate.

    Args:
        trial: the subject at work.
        rate: packets/s.
        seconds: for how long.
        beside_others: other programs want the load's CPU, but are not to make its packets late.

    Raises:
        BenchError: packets were lost, or came out of order.
    """
    manner = {"sleeps": True, "before_others": True} if beside_others else {"watch": True}
    result, cost = trial.load_and_cost(rate=rate, seconds=seconds, **manner)
    if result.received < result.sent or result.reordered:
        raise BenchError(f"{result.sent - result.received} lost, {result.reordered} out of order at {rate:.0f}/s")
    hold = trial.subject.hold
    percentiles = {"p50": result.p50, "p99": result.p99, "p99.9": result.p999, "max": result.max, "mean": result.mean}
    return {**{name: (value - hold) / 1000 for name, value in percentiles.items()}, "cpu_us": cost}


def tables(figures: Figures) -> list[Table]:
    return [table(f"Lateness in µs, {condition}", subjects) for condition, subjects in figures.items()]


def table(title: str, subjects: dict[str, Found]) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("subject")
    for column in ("p50", "p99", "p99.9", "max", "mean"):
        table.add_column(column, justify="right")
    table.add_column("CPU µs/packet", justify="right")
    for name, found in subjects.items():
        late = [spread(found, key) for key in ("p50", "p99", "p99.9")]
        late += [f"{found[key]:,.0f}" for key in ("max", "mean")]
        table.add_row(name, *late, f"{found['cpu_us']:.1f}")
    return table
