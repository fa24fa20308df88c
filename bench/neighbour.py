"""How late packets leave beside a program that uses the other CPU wholly, when the engine may run before all others."""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.table import Table

from bench.namespace import LOAD_CPU
from bench.plan import Figures, Found, Plan, interleave_conditions
from bench.punctuality import OFF_BEAT, SECONDS, lateness
from bench.punctuality import tables as tables_of
from bench.subjects import MS, Subject, c_hold, shaper_delay
from bench.trial import Trial

HOLD = 10 * MS
RATES = [1_000, 20_000]
PRIORITY = 10
"""Of C hold under SCHED_FIFO; it is alone there, so any would do."""


def measure(plan: Plan) -> Figures:
    """Rates -> subjects -> lateness in µs."""
    return interleave_conditions(plan.rounds, subjects(), at_all_rates, lambda subject: subject.name)


def expected(plan: Plan) -> float:
    return plan.rounds * len(subjects()) * (sum(SECONDS[rate] + 0.1 for rate in RATES) + 1.3)


def subjects() -> list[Subject]:
    """C and shaper, both under SCHED_FIFO."""
    c = c_hold(HOLD)
    first = c._replace(name=f"{c.name}, SCHED_FIFO", command=["chrt", "--fifo", str(PRIORITY), *c.command])
    return [first, shaper_delay(HOLD, "--realtime")]


def at_all_rates(subject: Subject) -> Sequence[tuple[str, Found]]:
    """The lateness of a subject at each rate, with the name of the condition."""
    with Trial(subject) as trial, busy(LOAD_CPU):
        trial.load(rate=1000, seconds=0.3)
        return [
            (f"{rate} packets/s", lateness(trial, rate * OFF_BEAT, SECONDS[rate], beside_others=True)) for rate in RATES
        ]


@contextmanager
def busy(cpu: int) -> Iterator[None]:
    """In here a program of ordinary priority takes all that the load leaves of its CPU."""
    with subprocess.Popen(["taskset", "-c", str(cpu), sys.executable, "-c", "while True: pass"]) as program:
        try:
            yield
        finally:
            program.kill()


def tables(figures: Figures) -> list[Table]:
    return tables_of({f"beside a busy program, {condition}": found for condition, found in figures.items()})
