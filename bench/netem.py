"""The same packets through real netem and through shaper: how many are lost, doubled, reordered, and how long it takes.

This runs in a guest with virtual time (see guest/guest.sh), where both go by the same clock.
"""

from typing import Any

from rich.table import Table

from bench.compiled import BenchError, program
from bench.in_guest import BOOT, in_guest
from bench.plan import Figures, Found, Plan, say
from bench.subjects import shaper

ROUNDS = 1
LINES = (
    "delay 20ms 5ms",
    "loss 5%",
    "delay 20ms 5ms distribution normal",
    "delay 20ms 5ms distribution pareto",
    "delay 20ms reorder 25%",
    "rate 1mbit",
    "rate 1mbit 0 48 5",
    "delay 20ms rate 1mbit reorder 25%",
    "loss gemodel 2% 30% 80% 1%",
    "duplicate 5%",
)


def measure(plan: Plan) -> Figures:
    """Lines for tc -> subjects -> shares of packets, and latencies in ms. What the guest can't run is left out."""
    found: Figures = {}
    for line in lines(plan):
        try:
            out = in_guest("netem.sh", program("load"), " ".join(shaper()), line)
        except BenchError as error:
            say(f"not measured: {line}: {error}")
            continue
        found[line] = dict(figures_in(measured) for measured in out)
        for subject, figures in found[line].items():
            say(f"{line}, {subject}: " + ", ".join(f"{key} {value:.4g}" for key, value in figures.items()))
    return found


def expected(plan: Plan) -> float:
    return len(lines(plan)) * (BOOT + 60)


def lines(plan: Plan) -> tuple[str, ...]:
    """The lines to compare."""
    return LINES[:2] if plan.quick else LINES


def figures_in(measured: dict[str, Any]) -> tuple[str, Found]:
    """The subject, and the figures to compare."""
    load = measured["load"]
    return measured["subject"], {
        "lost": 1 - load["received"] / load["sent"],
        "doubled": load["duplicates"] / load["sent"],
        "reordered": load["reordered"] / load["sent"],
        **{key: load[key] / 1e6 for key in ("mean", "p50", "p99", "max")},
    }


def tables(figures: Figures) -> list[Table]:
    made = Table(title="Real netem and shaper, 3,880 packets, virtual time", title_justify="left")
    made.add_column("tc qdisc … netem")
    made.add_column("")
    for column in ("lost %", "doubled %", "reordered %", "mean ms", "p50", "p99", "max"):
        made.add_column(column, justify="right")
    for line, subjects in figures.items():
        for subject, found in subjects.items():
            shares = (f"{100 * found[key]:.2f}" for key in ("lost", "doubled", "reordered"))
            times = (f"{found[key]:.2f}" for key in ("mean", "p50", "p99", "max"))
            made.add_row(line if subject == "netem" else "", subject, *shares, *times)
    return [made]
