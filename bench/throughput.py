"""The highest rate of packets that a subject sustains without losing one, and what each costs in CPU time."""

from functools import partial

from rich.table import Table

from bench.load import Load
from bench.plan import Figures, Plan, interleave, say
from bench.programs import BenchError
from bench.subjects import Subject, c_accept, shaper_delay, shaper_pass, throughput_subjects
from bench.trial import Trial

SECOND = 1_000_000_000
STEP = 0.95
FIXED_RATE = 60_000
BACKLOG = 20_000_000
"""Latency beyond the wanted hold, in ns, at the end of a run, that means the queue was growing."""


def measure(plan: Plan) -> Figures:
    conditions: list[tuple[int, int, list[Subject]]] = [(64, 1, throughput_subjects())]
    if not plan.quick:
        few = [c_accept(), shaper_pass(), shaper_delay()]
        conditions += [(64, 64, few), (1400, 1, few), (1400, 64, few)]
    return {
        f"{length} bytes, {flows} flow{'s'[: flows > 1]}": interleave(
            plan.rounds,
            subjects,
            partial(sustained, seconds=plan.seconds, length=length, flows=flows),
            lambda subject: subject.name,
        )
        for length, flows, subjects in conditions
    }


def sustained(subject: Subject, seconds: float, length: int = 64, flows: int = 1) -> dict[str, float]:
    """The highest rate at which a run of `seconds` loses nothing and lets no queue grow.

    Raises:
        BenchError: the subject can't run, or the counts of sender, subject and receiver differ in the end.
    """
    with Trial(subject) as trial:
        trial.load(rate=1000, seconds=0.3)
        # As fast as it goes with a bounded number of packets on the way: an estimate that overflows nothing.
        window = 2048 + subject.hold * 400_000 // SECOND
        rate = trial.load(seconds=1, window=window, length=length, flows=flows, patience=5 * SECOND).rate
        # One run in short steps up from below the estimate, then the long one, down until it holds.
        rate *= 0.9
        while keeps_up(subject, trial.load(rate=rate / STEP, seconds=1, length=length, flows=flows), rate / STEP):
            rate /= STEP
        lost = trial.sent - trial.received
        while True:
            result, cost = trial.load_and_cost(rate=rate, seconds=seconds, length=length, flows=flows)
            if keeps_up(subject, result, rate):
                break
            lost = trial.sent - trial.received
            rate *= STEP
        figures = {"rate": rate, "cpu_us": cost}
        if rate > FIXED_RATE:
            result, cost = trial.load_and_cost(rate=FIXED_RATE, seconds=min(seconds, 3), length=length, flows=flows)
            if keeps_up(subject, result, FIXED_RATE):
                figures["cpu_us_at_60k"] = cost
        counts = trial.stop()
        elsewhere = counts.queue_full + counts.buffer_full + counts.receiver_full
        if counts.taken + counts.queue_full + counts.buffer_full != counts.sent:
            raise BenchError(f"{counts}: sender and subject disagree")
        if elsewhere != lost or counts.received != counts.sent - elsewhere:
            say(f"{subject.name}: {lost} lost while searching, of these {elsewhere} for want of room ({counts})")
        return figures


def keeps_up(subject: Subject, result: Load, rate: float) -> bool:
    """Nothing lost, the sender kept its pace, and at the end packets waited no longer than they should."""
    return (
        result.received == result.sent
        and result.seconds * rate < result.sent * 1.02
        and result.end_p50 < subject.hold + BACKLOG
    )


def tables(figures: Figures) -> list[Table]:
    return [table(condition, subjects) for condition, subjects in figures.items()]


def table(condition: str, subjects: dict[str, dict[str, float]]) -> Table:
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
