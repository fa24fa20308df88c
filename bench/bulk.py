"""One TCP flow as fast as it can go through a hold: over lo and over veth."""

import json
import subprocess
import sys

from rich.table import Table

from bench.compiled import BenchError
from bench.namespace import ADDRESS, LOAD_CPU, PORT
from bench.plan import Figures, Found, Plan, interleave_conditions
from bench.subjects import HERE, MS, Subject, c_hold, no_queue, shaper_delay
from bench.trial import Trial

HOLD = 20 * MS
WARM_UP = 1
"""Seconds before it counts, in which the window grows."""
LO, VETH = "lo, data and ACKs held", "veth, data held"


def measure(plan: Plan) -> Figures:
    """Paths -> subjects -> Mbit/s of payload, and the CPU time that costs."""
    return interleave_conditions(
        plan.rounds,
        [no_queue(), *subjects()],
        lambda subject: ((way, bulk(subject, way == VETH, length(plan))) for way in (LO, VETH)),
        lambda subject: subject.name,
    )


def expected(plan: Plan) -> float:
    return plan.rounds * (1 + len(subjects())) * 2 * (length(plan) + WARM_UP + 1.5)


def length(plan: Plan) -> float:
    """Seconds of one measurement."""
    return min(plan.seconds, 3)


def subjects() -> list[Subject]:
    """C and shaper, each with and without GSO."""
    return [c_hold(HOLD), shaper_delay(HOLD), c_hold(HOLD, "gso"), shaper_delay(HOLD, "--gso")]


def bulk(subject: Subject, veth: bool, seconds: float) -> Found:
    """Mbit/s of payload, after the warm-up.

    Over lo, data and ACKs are held, so a round trip takes two holds. Over veth, only what
    comes in is held: the data.
    """
    with Trial(subject, "tcp", veth=veth) as trial:
        address = ADDRESS if veth else "127.0.0.1"
        ends = [str(PORT), str(WARM_UP), str(seconds)]
        script = [sys.executable, str(HERE / "stream.py")]
        receiver = trial.namespace.start([*script, "receive", address, *ends], LOAD_CPU)
        assert receiver.stdout is not None
        receiver.stdout.readline()
        before = trial.cpu_time()
        trial.namespace.run([*script, "send", address, *ends], LOAD_CPU, beside=veth)
        try:
            out = json.loads(receiver.communicate(timeout=30)[0])
        except subprocess.TimeoutExpired:
            raise BenchError("the receiver did not end") from None
        cost = (trial.cpu_time() - before) / 1e9
    return {"mbit": megabits(out), "cpu_s_per_gbit": cost / (out["all_bytes"] * 8 / 1e9)}


def megabits(out: dict[str, float]) -> float:
    """Mbit/s in what the receiver printed."""
    return out["bytes"] * 8 / out["seconds"] / 1e6


def tables(figures: Figures) -> list[Table]:
    return [table(way, found) for way, found in figures.items()]


def table(way: str, subjects: dict[str, Found]) -> Table:
    table = Table(title=f"One TCP flow, {way}", title_justify="left")
    table.add_column("subject")
    for column in ("Mbit/s", "÷ C", "CPU s/Gbit"):
        table.add_column(column, justify="right")
    base = subjects.get(c_hold(HOLD).name, {}).get("mbit")
    for name, found in subjects.items():
        ratio = f"{found['mbit'] / base:.2f}" if base else "-"
        cost = f"{found['cpu_s_per_gbit']:.2f}" if "cpu_s_per_gbit" in found else "-"
        table.add_row(name, f"{found['mbit']:,.0f}", ratio, cost)
    return table
