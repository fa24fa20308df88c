"""What it costs packets that somebody looks: `shaper top`, a scrape of the metrics each second, a stream of events."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from rich.table import Table

from bench.compiled import BenchError
from bench.plan import Figures, Found, Plan, interleave
from bench.punctuality import OFF_BEAT
from bench.subjects import MS, NOT_COMPILED, Subject, shaper
from bench.trial import Trial

HOLD = 10 * MS
RATE = 20_000
SECONDS = 3.0
NAME = "bench"
WATCHED, ALONE = "watched", "alone"
SCRAPE = """
import sys, time
from shaper.control.client import Client
while True:
    Client(sys.argv[1]).metrics()
    time.sleep(1)
"""
TOP = """
import os, pty, sys
pid, terminal = pty.fork()
if not pid:
    os.environ |= {"TERM": "xterm-256color", "COLUMNS": "120", "LINES": "40"}
    os.execvp(sys.argv[1], sys.argv[1:])
while os.read(terminal, 1 << 16):
    pass
"""


def measure(plan: Plan) -> Figures:
    """Watched or alone -> lateness in µs and CPU time of the engine per packet."""
    return {f"{RATE} packets/s": interleave(plan.rounds, [ALONE, WATCHED], _run, str)}


def expected(plan: Plan) -> float:
    return plan.rounds * 2 * (SECONDS + 3)


def _run(how: str) -> Found:
    subject = Subject(f"shaper, {how}", shaper("delay:time=10ms", options=["--name", NAME]), HOLD)
    with Trial(subject) as trial, ExitStack() as stack:
        if how == WATCHED:
            stack.enter_context(_watchers())
        trial.load(rate=RATE * OFF_BEAT, seconds=1)
        result, cost = trial.load_and_cost(rate=RATE * OFF_BEAT, seconds=SECONDS, watch=True)
        if result.received < result.sent or result.reordered:
            raise BenchError(f"{result.sent - result.received} lost, {result.reordered} out of order")
    return {"p50": (result.p50 - HOLD) / 1000, "p99": (result.p99 - HOLD) / 1000, "cpu_us": cost}


@contextmanager
def _watchers() -> Iterator[None]:
    """Those who look, until the end.

    Raises:
        BenchError: one of them has ended by itself.
    """
    commands = [
        [sys.executable, "-c", TOP, NOT_COMPILED, "top", NAME, "--interval", "100ms"],
        [sys.executable, "-c", SCRAPE, NAME],
        [NOT_COMPILED, "events", NAME, "--json"],
    ]
    started = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for command in commands]
    try:
        time.sleep(2)
        yield
        for process, command in zip(started, commands, strict=True):
            if process.poll() is not None:
                raise BenchError(f"{command} ended by itself with {process.returncode}")
    finally:
        for process in started:
            process.terminate()
            process.wait()


def tables(figures: Figures) -> list[Table]:
    found = []
    for condition, rows in figures.items():
        table = Table(title=f"Held for 10 ms, {condition}", title_justify="left")
        for column in ("", "late p50, µs", "late p99, µs", "CPU of the engine, µs/packet"):
            table.add_column(column, justify="right" if column else "left")
        for name, row in rows.items():
            table.add_row(name, *(f"{row[key]:.1f}" for key in ("p50", "p99", "cpu_us")))
        found.append(table)
    return found
