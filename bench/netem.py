"""The same packets through real netem and through shaper: what is lost, doubled, reordered, and how long it takes.

In a guest with virtual time (see guest/guest.sh), where both have the same clock to go by.
"""

import json
import subprocess
import tempfile
from pathlib import Path

from rich.table import Table

from bench.plan import Figures, Plan, say
from bench.programs import BenchError, program
from bench.subjects import HERE, shaper

BOOT_AND_RUN = 900
LINES = (
    "delay 20ms",
    "delay 20ms 5ms",
    "delay 20ms 5ms distribution normal",
    "delay 20ms 5ms distribution pareto",
    "delay 20ms reorder 25%",
    "delay 20ms reorder 25% gap 5",
    "loss 5%",
    "loss gemodel 2% 30% 80% 1%",
    "loss state 3% 40% 10% 50% 1%",
    "duplicate 5%",
    "delay 20ms loss 5% duplicate 2%",
)


def measure(plan: Plan) -> Figures:
    """Lines of tc's -> subjects -> shares of packets, and latencies in ms; empty where the guest can't run."""
    try:
        out = in_guest(LINES[::3] if plan.quick else LINES)
    except BenchError as error:
        say(f"not measured: {error}")
        return {}
    found: Figures = {}
    for text in out.splitlines():
        if not text.startswith("{"):
            continue
        measured = json.loads(text)
        load = measured["load"]
        figures = {
            "lost": 1 - load["received"] / load["sent"],
            "doubled": load["duplicates"] / load["sent"],
            "reordered": load["reordered"] / load["sent"],
            **{key: load[key] / 1e6 for key in ("mean", "p50", "p99", "max")},
        }
        found.setdefault(measured["line"], {})[measured["subject"]] = figures
    return found


def in_guest(lines: tuple[str, ...]) -> str:
    """What guest/netem.sh printed.

    Raises:
        BenchError: the guest doesn't come up, or the script fails.
    """
    with tempfile.TemporaryDirectory(dir=Path(program("load")).parent) as folder:
        listed = Path(folder) / "lines"
        listed.write_text("".join(f"{line}\n" for line in lines))
        script = f"sh {HERE}/guest/netem.sh {program('load')} '{' '.join(shaper())}' {listed}"
        command = ["bash", str(HERE / "guest/guest.sh"), "run", "-t", str(BOOT_AND_RUN), script]
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise BenchError(f"the guest ended with {done.returncode}: {done.stderr.strip()[-300:]}")
    return done.stdout


def tables(figures: Figures) -> list[Table]:
    made = Table(title="Real netem and shaper, 9,700 packets, virtual time", title_justify="left")
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
