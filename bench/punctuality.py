"""How late packets leave: receipt - sending - wanted hold, the way through the kernel included."""

from functools import partial

from rich.table import Table

from bench.plan import Figures, Plan, interleave
from bench.programs import BenchError
from bench.subjects import MS, Subject, hold_subjects, no_queue
from bench.trial import Trial

OFF_BEAT = 0.9937
"""Rates are so much less than they say: with a whole number of packets in a hold, each would leave as one comes."""


def measure(plan: Plan) -> Figures:
    rates = [1_000, 20_000] if plan.quick else [100, 1_000, 5_000, 20_000, 60_000]
    seconds = min(plan.seconds, 2)
    figures = {}
    for hold in [10 * MS] if plan.quick else [10 * MS, 100 * MS]:
        subjects = [no_queue(), *hold_subjects(hold)]
        for rate in rates:
            figures[f"{hold // MS} ms hold, {rate} packets/s"] = interleave(
                plan.rounds,
                subjects,
                partial(lateness, rate=rate * OFF_BEAT, seconds=seconds),
                lambda subject: subject.name,
            )
    return figures


def lateness(subject: Subject, rate: float, seconds: float) -> dict[str, float]:
    """Lateness in µs at a rate.

    Raises:
        BenchError: packets were lost, or came out of order.
    """
    with Trial(subject) as trial:
        trial.load(rate=1000, seconds=0.3)
        result, cost = trial.load_and_cost(rate=rate, seconds=seconds, watch=True)
        if result.received < result.sent or result.reordered:
            raise BenchError(f"{result.sent - result.received} lost, {result.reordered} out of order at {rate}/s")
        percentiles = {"p50": result.p50, "p99": result.p99, "p99.9": result.p999, "max": result.max}
        late = {name: (value - subject.hold) / 1000 for name, value in percentiles.items()}
        late["mean"] = (result.mean - subject.hold) / 1000
        return {**late, "cpu_us": cost}


def tables(figures: Figures) -> list[Table]:
    return [table(f"Lateness in µs, {condition}", subjects) for condition, subjects in figures.items()]


def table(title: str, subjects: dict[str, dict[str, float]]) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("subject")
    for column in ("p50", "p99", "p99.9", "max", "mean"):
        table.add_column(column, justify="right")
    table.add_column("CPU µs/packet", justify="right")
    for name, found in subjects.items():
        late = [f"{found[key]:,.0f}" for key in ("p50", "p99", "p99.9", "max", "mean")]
        table.add_row(name, *late, f"{found['cpu_us']:.1f}")
    return table
