"""Whether all packets arrive once and in order while options change 20 times a second and the pipeline each second.

In one run the front is killed at the end, with packets held: the engine must send them on and remove the rules.
"""

import os
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from rich.table import Table

from bench.compiled import BenchError
from bench.load import Load
from bench.namespace import LOAD_CPU, QUEUE
from bench.plan import Figures, Found, Plan, interleave
from bench.subjects import SHAPER, Subject
from bench.trial import START_WITHIN, STOP_WITHIN, Trial
from shaper.control.client import Client
from shaper.control.listen import running
from shaper.errors import ShaperError
from shaper.live.front.front import BEHIND_ENGINES

RATE = 50_000
SECONDS = 60.0
PER_SECOND = 20
TIMES = ("20ms", "21ms", "19ms")
NAME = "bench-changes"
COMMAND = [SHAPER, "start", "--policy", "delay:20ms", "--protocol", "udp", "--queue", str(QUEUE), "--name", NAME]
STOPPED, KILLED = "stopped in order", "front killed"


def measure(plan: Plan) -> Figures:
    """How it ends -> packets, changes, and packets that were lost, doubled, out of order or not shaped."""
    seconds = plan.seconds if plan.quick else SECONDS
    return interleave(1, [STOPPED, KILLED], lambda end: _run(end, seconds), str)


def expected(plan: Plan) -> float:
    return 2 * ((plan.seconds if plan.quick else SECONDS) + 4)


def _run(end: str, seconds: float) -> Found:
    with Trial(Subject("shaper delay 20 ms", [*COMMAND, "--json"]), None) as trial:
        front = trial.process
        assert front is not None
        _wait(lambda: NAME in running(), START_WITHIN, "shaper opened no control socket")
        # The engine has a CPU of its own, and comes first. Here, the load runs at nice -20, so the front is behind both
        # by as much as it is behind the engine and other programs when users start it.
        os.sched_setaffinity(front.pid, [LOAD_CPU])
        os.setpriority(os.PRIO_PROCESS, front.pid, BEHIND_ENGINES - 20)
        Client(NAME).status()  # what answers is imported now
        with ThreadPoolExecutor(1) as pool:
            loading = pool.submit(trial.load, rate=RATE, seconds=seconds, sleeps=True)
            try:
                changes = _change(loading, seconds)
            except ShaperError as error:
                raise BenchError(f"not all changes were made: {error}") from error
            if end == KILLED:
                front.kill()
            result = loading.result()
        found = {
            "sent": result.sent,
            "changes": changes,
            "lost": result.sent - result.received,
            "twice": result.duplicates,
            "out_of_order": result.reordered,
            "p50_ms": result.p50 / 1e6,
        }
        if end == KILLED:
            _wait(lambda: trial.namespace.queue() is None, STOP_WITHIN, "the engine did not end")
            rules = trial.namespace.run(["iptables-save"])
            return {**found, "rules_left": rules.count("NFQUEUE")}
        counts = trial.stop()
        return {**found, "bypassed": trial.summary["bypassed"], "not_taken": result.sent - counts.taken}


def _wait(condition: Callable[[], bool], seconds: float, otherwise: str) -> None:
    give_up = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > give_up:
            raise BenchError(otherwise)
        time.sleep(0.05)


def _change(loading: Future[Load], seconds: float) -> int:
    """Change options, and each second the pipeline, until a second before the load ends; returns how often."""
    client = Client(NAME)
    begun = time.monotonic()
    changes = 0
    while not loading.done() and time.monotonic() < begun + seconds - 1:
        changes += 1
        if changes % PER_SECOND:
            client.set("delay", {"time": TIMES[changes % len(TIMES)]})
        else:
            client.replace(["delay:20ms"])
        time.sleep(max(0, begun + changes / PER_SECOND - time.monotonic()))
    return changes


def tables(figures: Figures) -> list[Table]:
    title = f"{RATE:,} packets/s through delay:20ms; {PER_SECOND} changes/s, one of them of the whole pipeline"
    table = Table(title=title, title_justify="left")
    for column in ("", *figures):
        table.add_column(column, justify="right" if column else "left")
    for name in dict.fromkeys(name for found in figures.values() for name in found):
        cells = (f"{found[name]:,.7g}" if name in found else "" for found in figures.values())
        table.add_row(name.replace("_", " "), *cells)
    return [table]
