"""Micro-benchmarks by pytest-benchmark, saved under their commit, so that commits can be compared."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from bench.compiled import CACHE, BenchError
from bench.plan import Figures, Plan
from bench.subjects import HERE

PACKETS = 1000


def measure(plan: Plan) -> Figures:
    """The CPU time of each case in µs per packet: least and median.

    Raises:
        BenchError: a case failed, or pytest-benchmark is not installed.
    """
    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder) / "micro.json"
        command = [sys.executable, "-m", "pytest", "-q", str(HERE / "micro_cases.py"), "-p", "no:cacheprovider"]
        # CPU time: it shows least of what else the machine does.
        command += ["--benchmark-timer=time.process_time"]
        command += [f"--benchmark-json={kept}", "--benchmark-autosave", f"--benchmark-storage={CACHE / 'micro'}"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise BenchError(f"micro-benchmarks failed:\n{done.stdout[-2000:]}")
        cases = json.loads(kept.read_text())["benchmarks"]
    scale = 1e6 / PACKETS
    return {
        case["name"].removeprefix("test_"): {
            "least": case["stats"]["min"] * scale,
            "us": case["stats"]["median"] * scale,
        }
        for case in cases
    }


def expected(plan: Plan) -> float:
    return 60


def tables(figures: Figures) -> list[Table]:
    table = Table(title="Without a kernel, µs per packet", title_justify="left")
    table.add_column("case")
    for column in ("least", "median"):
        table.add_column(column, justify="right")
    for name, found in figures.items():
        table.add_row(escape(name), f"{found['least']:.2f}", f"{found['us']:.2f}")
    return [table]
