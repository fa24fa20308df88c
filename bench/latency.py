"""What the queue adds to the latency of a packet that travels alone: the next is sent when the last has arrived."""

from rich.table import Table

from bench.plan import Figures, Plan, interleave, spread
from bench.subjects import Subject, c_accept, no_queue, peer, shaper_pass
from bench.trial import Trial


def measure(plan: Plan) -> Figures:
    """Subjects -> latency in µs."""
    return interleave(plan.rounds, subjects(), lambda subject: alone(subject, min(plan.seconds, 2)), lambda s: s.name)


def expected(plan: Plan) -> float:
    return plan.rounds * len(subjects()) * (min(plan.seconds, 2) + 1.2)


def subjects() -> list[Subject]:
    """No queue, and the subjects that hold nothing."""
    return [no_queue(), c_accept(), Subject("NetfilterQueue accept", peer("accept")), shaper_pass()]


def alone(subject: Subject, seconds: float) -> dict[str, float]:
    """A packet's latency through the queue, in µs."""
    with Trial(subject) as trial:
        trial.load(rate=1000, seconds=0.3)
        result = trial.load(window=1, seconds=seconds, watch=True)
        return {"p50": result.p50 / 1000, "p99": result.p99 / 1000, "p99.9": result.p999 / 1000}


def tables(figures: Figures) -> list[Table]:
    table = Table(title="A packet that travels alone, µs from sending to receipt", title_justify="left")
    table.add_column("subject")
    for column in ("p50", "p99", "p99.9", "p50 beyond no queue"):
        table.add_column(column, justify="right")
    base = figures.get("no queue", {}).get("p50", 0)
    for name, found in figures.items():
        table.add_row(name, *(spread(found, key, 1) for key in ("p50", "p99", "p99.9")), f"{found['p50'] - base:.1f}")
    return [table]
