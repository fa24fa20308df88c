"""Lateness beside the real netem, in a guest with virtual time: see guest/guest.sh.

There is one CPU, an instruction takes a nanosecond, and idle time is skipped. So only the
code under test moves the clock: microseconds can be compared on a noisy machine, and a
second run finds the same. Since all instructions take the same time, caches, branch misses
and wakeups of idle CPUs don't show. What a spin costs shows only in the CPU time per packet.
"""

from typing import Any

from rich.table import Table

from bench.compiled import BenchError, program
from bench.in_guest import BOOT, subjects_in_guest
from bench.plan import Figures, Found, Plan, medians, say
from bench.punctuality import HOLDS, OFF_BEAT
from bench.subjects import MS, Subject, hold_subjects, naive_hold

ROUNDS = 1
SECONDS = {100: 1.0, 1_000: 0.5, 5_000: 0.2, 20_000: 0.1, 60_000: 0.03}
"""Packets/s -> for how many seconds, in the guest's own time."""
WARM_UP = 400


def measure(plan: Plan) -> Figures:
    """Holds and rates -> subjects -> lateness in µs; empty if the guest can't run."""
    found: dict[str, dict[str, list[Found]]] = {}
    nominal = {round(rate * OFF_BEAT): rate for rate in SECONDS}
    for hold in holds(plan):
        sent = " ".join(f"{actual}:{SECONDS[rate]}" for actual, rate in nominal.items() if rate in rates(plan))
        of_each = {subject.name: subject.hold for subject in subjects(hold)}
        for _ in range(ROUNDS):
            try:
                lines = subjects_in_guest(
                    "lateness.sh", program("load"), str(hold // MS), sent, str(WARM_UP), subjects=subjects(hold)
                )
            except BenchError as error:
                say(f"not measured: {error}")
                continue
            for line in lines:
                condition = f"{hold // MS} ms hold, {nominal[line['rate']]} packets/s"
                if not line["load"]["received"]:
                    say(f"not measured: {line['subject']} delivered nothing in the guest, {condition}")
                    continue
                late = lateness(line, of_each[line["subject"]])
                say(f"guest, {line['subject']}, {condition}: mean {late['mean']:.1f} µs")
                found.setdefault(condition, {}).setdefault(line["subject"], []).append(late)
    return {
        condition: {name: medians(each) for name, each in measured.items()} for condition, measured in found.items()
    }


def expected(plan: Plan) -> float:
    packets = WARM_UP + sum(SECONDS[rate] * rate for rate in rates(plan))
    return len(holds(plan)) * ROUNDS * (BOOT + len(subjects(0)) * (8 + packets * 0.002))


def holds(plan: Plan) -> list[int]:
    """The holds to measure, in ns."""
    return HOLDS[:1] if plan.quick else HOLDS


def rates(plan: Plan) -> list[int]:
    """The rates to measure, in packets/s."""
    return [1_000, 5_000] if plan.quick else list(SECONDS)


def subjects(hold: int) -> list[Subject]:
    """No delay, netem, and the subjects that hold for this long (ns)."""
    return [Subject("no delay", ["none"]), Subject("netem", ["netem"], hold), *hold_subjects(hold), naive_hold(hold)]


def lateness(line: dict[str, Any], hold: int) -> Found:
    """In µs, from one line of guest/lateness.sh."""
    load = line["load"]
    late = {key: (load[key] - hold) / 1000 for key in ("mean", "p50", "p99", "max")}
    late["p99.9"] = (load["p999"] - hold) / 1000
    return late | {"cpu_us": line["cpu_ns"] / 1000 / load["received"], "lost": load["sent"] - load["received"]}


def tables(figures: Figures) -> list[Table]:
    made = []
    for condition, found in figures.items():
        table = Table(title=f"Lateness in µs, virtual time, {condition}", title_justify="left")
        table.add_column("subject")
        for column in ("p50", "p99", "p99.9", "max", "mean", "CPU µs", "lost"):
            table.add_column(column, justify="right")
        for name, each in found.items():
            late = (f"{each[key]:.1f}" for key in ("p50", "p99", "p99.9", "max", "mean", "cpu_us"))
            table.add_row(name, *late, f"{each['lost']:.0f}")
        made.append(table)
    return made
