"""One TCP flow with all it can carry through a hold, over lo."""

import json
import sys

from rich.table import Table

from bench.namespace import CONSUMER_CPU, LOAD_CPU, PORT
from bench.plan import Figures, Plan, interleave
from bench.subjects import HERE, MS, Subject, c_hold, no_queue, shaper, shaper_delay
from bench.trial import Trial

HOLD = 20 * MS


def measure(plan: Plan) -> Figures:
    gso = Subject("shaper delay 20 ms, --gso", shaper("delay:time=20ms", options=["--gso"]), HOLD)
    subjects = [no_queue(), c_hold(HOLD), shaper_delay(HOLD), gso]
    return interleave(plan.rounds, subjects, lambda subject: bulk(subject, min(plan.seconds, 5)), lambda s: s.name)


def bulk(subject: Subject, seconds: float) -> dict[str, float]:
    """Mbit/s of payload, after the first second, in which the window grows.

    Data and ACKs alike are held, so the round trip takes two holds.
    """
    with Trial(subject, "tcp") as trial:
        script = [sys.executable, str(HERE / "stream.py"), str(PORT), str(seconds)]
        before = trial.cpu_time()
        out = json.loads(trial.namespace.run(script, LOAD_CPU))
        megabits = out["bytes"] * 8 / out["seconds"] / 1e6
        return {"mbit": megabits, "cpu_s_per_gbit": (trial.cpu_time() - before) / 1e9 / (out["all_bytes"] * 8 / 1e9)}


def tables(figures: Figures) -> list[Table]:
    title = f"One TCP flow over lo; shaper on CPU {CONSUMER_CPU}, both ends on CPU {LOAD_CPU}"
    table = Table(title=title, title_justify="left")
    table.add_column("subject")
    for column in ("Mbit/s", "CPU s/Gbit"):
        table.add_column(column, justify="right")
    for name, found in figures.items():
        table.add_row(name, f"{found['mbit']:,.0f}", f"{found['cpu_s_per_gbit']:.2f}")
    return [table]
