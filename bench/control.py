"""What it costs packets that somebody looks: `shaper top`, a scrape of the metrics each second, a stream of events.

How late packets go on is what the engine says of them. When they are received is beside it: where there are two CPUs,
those who look take time from the receiver, whatever the engine does.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from rich.table import Table

from bench.compiled import BenchError
from bench.namespace import LOAD_CPU
from bench.plan import Figures, Found, Plan, interleave
from bench.punctuality import OFF_BEAT
from bench.subjects import MS, NOT_COMPILED, Subject, shaper
from bench.trial import Trial
from shaper.live.front.front import BEHIND_ENGINES

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
    with Trial(subject) as trial:
        assert trial.process is not None
        # The engine has a CPU of its own, as with `--cpu`, and comes first; the front runs as users start it.
        os.sched_setaffinity(trial.process.pid, [LOAD_CPU])
        os.setpriority(os.PRIO_PROCESS, trial.process.pid, BEHIND_ENGINES)
        with _watchers() if how == WATCHED else nullcontext():
            trial.load(rate=RATE * OFF_BEAT, seconds=1)
            result, cost = trial.load_and_cost(rate=RATE * OFF_BEAT, seconds=SECONDS, watch=True)
        trial.stop()
    if result.received < result.sent or result.reordered:
        raise BenchError(f"{result.sent - result.received} lost, {result.reordered} out of order")
    late = trial.summary["lateness"]
    return {
        "p50": late["p50_ms"] * 1000,
        "p99": late["p99_ms"] * 1000,
        "received_p99": (result.p99 - HOLD) / 1000,
        "cpu_us": cost,
    }


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
    beside = ["taskset", "-c", str(LOAD_CPU)]
    started = [subprocess.Popen([*beside, *command], stdout=subprocess.DEVNULL) for command in commands]
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
        for column in ("", "late p50, µs", "late p99, µs", "received late p99, µs", "CPU of the engine, µs/packet"):
            table.add_column(column, justify="right" if column else "left")
        for name, row in rows.items():
            table.add_row(name, *(f"{row[key]:.1f}" for key in ("p50", "p99", "received_p99", "cpu_us")))
        found.append(table)
    return found
