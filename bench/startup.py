"""How long help takes, and how long until shaper is ready for the first packet."""

import statistics
import subprocess
import sys
import time

from rich.table import Table

from bench.compiled import BenchError
from bench.namespace import CONSUMER_CPU, Namespace
from bench.plan import Figures, Plan
from bench.subjects import SHAPER, shaper_pass
from bench.trial import Trial

HEAVY = {"scapy", "trio", "matplotlib"}


def measure(plan: Plan) -> Figures:
    """Commands -> seconds."""
    command = [SHAPER, "--help"]
    namespace = Namespace(None)
    helps = [seconds(namespace, command) for _ in range(plan.rounds + 1)][1:]
    namespace.close()
    found = {
        "shaper --help": {"seconds": statistics.median(helps), "heavy_imports": float(len(heavy_imports(command)))}
    }
    started = [to_bound() for _ in range(plan.rounds)]
    found["shaper start, until the queue is bound"] = {"seconds": statistics.median(started)}
    return found


def expected(plan: Plan) -> float:
    return plan.rounds * 1.5 + 2


def seconds(namespace: Namespace, command: list[str]) -> float:
    """How long a command takes."""
    begin = time.monotonic()
    namespace.run(command, CONSUMER_CPU)
    return time.monotonic() - begin


def to_bound() -> float:
    """Seconds from the start of shaper until its queue is bound."""
    trial = Trial(shaper_pass())
    begin = time.monotonic()
    with trial:
        return time.monotonic() - begin


def heavy_imports(command: list[str]) -> set[str]:
    """The packages that the command imports although it doesn't need them.

    Raises:
        BenchError: Python doesn't say what it imports.
    """
    log = subprocess.run([sys.executable, "-X", "importtime", *command], capture_output=True, text=True).stderr
    names = {line.rpartition("|")[2].strip().split(".")[0] for line in log.splitlines()}
    if "shaper" not in names:
        raise BenchError(f"{command[0]} imports no shaper: {log[-200:]}")
    return names & HEAVY


def tables(figures: Figures) -> list[Table]:
    table = Table(title="Start-up, median", title_justify="left")
    table.add_column("command")
    table.add_column("seconds", justify="right")
    for name, found in figures.items():
        table.add_row(name, f"{found['seconds']:.2f}")
    return [table]
