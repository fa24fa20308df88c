"""What a trial of an experiment costs beside the time of its command."""

import statistics
import time
from collections.abc import Iterator, Sequence

from distributed import LocalCluster
from rich.table import Table

from bench.plan import Figures, Plan
from shaper.experiment import Lab, Trial, execute_on_dask

TRIALS = 20
"""How many trials of each kind a round has."""
KINDS: dict[str, tuple[str, Sequence[str]]] = {
    "true": ("true", ()),
    "true, delay:20ms": ("true", ("delay:20ms",)),
    "ping of 10 packets, delay:1ms": ("ping -q -U -c 10 -i 0.002 127.0.0.1", ("delay:1ms",)),
    "a server that is left behind": ("python3 -m http.server 8000 & sleep 0.1", ()),
}
ON_DASK = "true, on a worker of a Dask cluster here"


def measure(plan: Plan) -> Figures:
    """Command and policies -> seconds of a trial that its command doesn't take, and of the start of a lab."""
    started, found = [], dict[str, list[float]]()
    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=":0") as cluster:
        found[ON_DASK] = list(on_dask(cluster.scheduler_address, plan.rounds * TRIALS))
    for _ in range(plan.rounds):
        begin = time.monotonic()
        with Lab() as lab:
            started.append(time.monotonic() - begin)
            for name, (line, policies) in KINDS.items():
                trial = Trial(("sh", "-c", line), tuple(policies))
                found.setdefault(name, []).extend(overhead(lab, trial) for _ in range(TRIALS))
    figures = {name: {"seconds": statistics.median(times), "most": max(times)} for name, times in found.items()}
    return {"a lab's start": {"seconds": statistics.median(started), "most": max(started)}, **figures}


def on_dask(address: str, count: int) -> Iterator[float]:
    """The seconds of each trial on a worker beside its command's; without the first one, which starts the lab."""
    trials = (Trial(("true",), number=number) for number in range(count + 1))
    before = time.monotonic_ns()
    for trial, outcome in execute_on_dask(trials, address):
        now = time.monotonic_ns()
        if trial.number:
            yield (now - before - outcome.duration) / 1e9
        before = now


def overhead(lab: Lab, trial: Trial) -> float:
    """The seconds of a trial beside its command's."""
    begin = time.monotonic_ns()
    outcome = lab.run(trial)
    return (time.monotonic_ns() - begin - outcome.duration) / 1e9


def expected(plan: Plan) -> float:
    return plan.rounds * TRIALS * (len(KINDS) + 1) * 0.12 + 5


def tables(figures: Figures) -> list[Table]:
    table = Table(title="A trial, beside its command's own time", title_justify="left")
    table.add_column("command")
    table.add_column("median, s", justify="right")
    table.add_column("most, s", justify="right")
    for name, found in figures.items():
        table.add_row(name, f"{found['seconds']:.3f}", f"{found['most']:.3f}")
    return [table]
