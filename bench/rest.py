"""What shaper costs while no packets come, and while few do."""

import time
from pathlib import Path

from rich.table import Table

from bench.plan import Figures, Found, Plan, interleave, spread
from bench.subjects import MS, Subject, c_hold, shaper_delay
from bench.trial import Trial

HOLD = 10 * MS
RATE = 100
SETTLED = 1
"""Seconds after its start until a subject is at rest."""


def measure(plan: Plan) -> Figures:
    """Subjects -> CPU time at rest, and of each packet."""
    seconds = min(plan.seconds, 5)
    return interleave(plan.rounds, subjects(), lambda subject: cost(subject, seconds), lambda s: s.name)


def expected(plan: Plan) -> float:
    return plan.rounds * len(subjects()) * (2 * min(plan.seconds, 5) + SETTLED + 1.2)


def subjects() -> list[Subject]:
    """C, and shaper with the watchdog that it has by default."""
    delay = shaper_delay(HOLD)
    at = list(delay.command).index("--watchdog")
    return [c_hold(HOLD), delay._replace(command=[*delay.command[:at], *delay.command[at + 2 :]])]


def cost(subject: Subject, seconds: float) -> Found:
    """The share of a CPU (%) that the process which takes the packets needs for none, and CPU ms for each of a few."""
    with Trial(subject) as trial:
        time.sleep(SETTLED)
        before = engine_time(trial)
        time.sleep(seconds)
        idle = (engine_time(trial) - before) / seconds / 1e9
        before = engine_time(trial)
        sent = trial.load(rate=RATE * 0.9937, seconds=seconds, sleeps=True).sent
        return {"idle_percent": 100 * idle, "cpu_ms": (engine_time(trial) - before) / sent / MS}


def engine_time(trial: Trial) -> int:
    """CPU time (ns) so far of the process that takes the packets, with all its threads."""
    tasks = Path(f"/proc/{trial.engine()}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks)


def tables(figures: Figures) -> list[Table]:
    table = Table(title=f"CPU time without packets, and at {RATE}/s held for 10 ms", title_justify="left")
    table.add_column("subject")
    table.add_column("idle, % of a CPU", justify="right")
    table.add_column("ms a packet", justify="right")
    for name, found in figures.items():
        table.add_row(name, spread(found, "idle_percent", 2), spread(found, "cpu_ms", 2))
    return [table]
