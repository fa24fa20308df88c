"""The probe's own times, the kernel's tracer and strace, of the same runs."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from statistics import median

import pytest

from shaper.trace.read.source import read_trace
from shaper.trace.report import report
from tests.trace.conftest import MAIN

RUNS = 3
CALLS = ("accept4", "pselect6", "poll")
Times = dict[tuple[int, str], float]


@pytest.mark.alone
def test_three_ways_to_measure_agree(tracer: None, tmp_path: Path) -> None:
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("there is no strace here")
    log, document = tmp_path / "log", tmp_path / "document.json"
    observe = [strace, "-f", "--seccomp-bpf", "-ttt", "-T", "-e", f"trace={','.join(CALLS)}", "-o", str(log)]
    probe = ["probe", "--policy", "delay:time=100ms", "--trace", f"--repeat={RUNS}", f"--json={document}"]
    done = subprocess.run([*observe, sys.executable, "-c", MAIN, *probe], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(document.read_text())

    # Those for packets; on a busy machine others are longer than the probe's threshold as well.
    own: Times = {
        (row["tid"], row["syscall"]): row["duration_ms"] for row in found["blockings"] if row["duration_ms"] > 50
    }
    traced: Times = {
        (row["tid"], row["syscall"]): row["duration_ms"]
        for trace in found["traces"]
        for row in trace["blockings"]
        if row["duration_ms"] > 50 and row["syscall"] in CALLS
    }
    straced: Times = {
        (row.tid, row.syscall): row.duration / 1e6
        for row in report(read_trace(log)).blockings
        if (row.tid, row.syscall) in own and row.duration > 50e6
    }
    assert set(own) == set(traced) == set(straced)
    assert len(own) == RUNS * len(CALLS)
    for other in (traced, straced):
        assert median(abs(other[call] - own[call]) for call in own) < 1
