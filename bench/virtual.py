"""Lateness beside the real netem, in a guest with virtual time: see guest/guest.sh.

One CPU, one instruction a nanosecond, idle time skipped: nothing but the code under
test moves the clock, so microseconds can be compared on a noisy machine. Because every
instruction counts alike, caches, branch misses and wake-ups of idle CPUs don't show.
"""

import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from rich.table import Table

from bench.plan import Figures, Plan, medians, say
from bench.programs import BenchError, program
from bench.subjects import HERE, MS, Subject, hold_subjects

HOLD = 20 * MS
BOOT_AND_RUN = 600


def measure(plan: Plan) -> Figures:
    """Rates -> subjects -> lateness in µs; empty where the guest can't run."""
    rounds = 1 if plan.quick else min(plan.rounds, 3)
    found: dict[str, dict[str, list[dict[str, float]]]] = {}
    for _ in range(rounds):
        try:
            lines = in_guest(subjects())
        except BenchError as error:
            say(f"not measured: {error}")
            return {}
        for line in lines:
            load = line["load"]
            if not load["received"]:
                say(f"not measured: {line['subject']} delivered nothing in the guest")
                continue
            late = {key: (load[key] - hold_of(line["subject"])) / 1000 for key in ("mean", "p50", "p99", "max")}
            late |= {"cpu_us": line["cpu_ns"] / 1000 / load["received"], "lost": load["sent"] - load["received"]}
            say(f"guest, {line['subject']}, {line['rate']}/s: mean {late['mean']:.1f} µs")
            found.setdefault(f"{line['rate']} packets/s", {}).setdefault(line["subject"], []).append(late)
    return {rate: {name: medians(each) for name, each in names.items()} for rate, names in found.items()}


def subjects() -> list[Subject]:
    return [Subject("no delay", ["none"]), Subject("netem", ["netem"], HOLD), *hold_subjects(HOLD)]


def hold_of(name: str) -> int:
    return next(subject.hold for subject in subjects() if subject.name == name)


def in_guest(subjects: list[Subject]) -> list[dict[str, Any]]:
    """What guest/lateness.sh printed, one object a line.

    Raises:
        BenchError: the guest doesn't come up, or the script fails.
    """
    with tempfile.TemporaryDirectory(dir=Path(program("load")).parent) as folder:
        listed = Path(folder) / "subjects"
        listed.write_text("".join(f"{subject.name}\t{' '.join(subject.command)}\n" for subject in subjects))
        script = f"sh {HERE}/guest/lateness.sh {program('load')} {HOLD // MS} {listed}"
        command = ["bash", str(HERE / "guest/guest.sh"), "run", "-t", str(BOOT_AND_RUN), script]
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise BenchError(f"the guest ended with {done.returncode}: {done.stderr.strip()[-300:]}")
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def tables(figures: Figures) -> list[Table]:
    made = []
    for rate, found in figures.items():
        table = Table(title=f"Lateness in µs beyond {HOLD // MS} ms, virtual time, {rate}", title_justify="left")
        table.add_column("subject")
        for column in ("mean", "p50", "p99", "max", "CPU µs/packet", "lost"):
            table.add_column(column, justify="right")
        for name, each in found.items():
            table.add_row(
                name, *(f"{each[key]:.1f}" for key in ("mean", "p50", "p99", "max", "cpu_us")), f"{each['lost']:.0f}"
            )
        made.append(table)
    return made
