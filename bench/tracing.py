"""What tracing costs a program, and how fast and in how much memory a recording is analysed."""

import json
import re
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.table import Table

from bench.plan import Figures, Plan, interleave
from bench.programs import BenchError

SHAPER = str(Path(sys.executable).with_name("shaper"))
# One million events are about 50 000 exchanges over two pipes.
EXCHANGES = 50_000
REQUESTS = 5_000

PIPES = f"""
import os
(a, b), (c, d) = os.pipe(), os.pipe()
if os.fork() == 0:
    for _ in range({EXCHANGES}):
        os.write(d, os.read(a, 1))
    os._exit(0)
for _ in range({EXCHANGES}):
    os.write(b, b"x")
    os.read(c, 1)
os.wait()
"""
SOCKETS = f"""
import os, socket, time
listener = socket.create_server(("127.0.0.1", 0))
if os.fork() == 0:
    server, _ = listener.accept()
    while data := server.recv(64):
        server.send(data)
    os._exit(0)
client = socket.create_connection(listener.getsockname())
begin = time.monotonic()
for _ in range({REQUESTS}):
    client.send(b"x" * 64)
    client.recv(64)
print("took", time.monotonic() - begin)
client.close()
os.wait()
"""
ANALYSE = """
import json, resource, sys, time
from pathlib import Path
from shaper.trace.report import report
from shaper.trace.source import read_trace
begin, cpu = time.monotonic(), time.process_time()
found = report(read_trace(Path(sys.argv[1])))
print(json.dumps({
    "events": found.events, "lost": found.lost, "seconds": time.monotonic() - begin,
    "cpu": time.process_time() - cpu, "mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
}))
"""


def measure(plan: Plan) -> Figures:
    return {
        "requests": interleave(plan.rounds, ("alone", "traced", "another is traced"), requests, str),
        "analysis": interleave(plan.rounds, ("recording of pipes",), analysis, str),
    }


def requests(how: str) -> dict[str, float]:
    """The mean of a request and its answer over loopback, in µs."""
    program = [sys.executable, "-c", SOCKETS]
    if how == "alone":
        return {"us": took(subprocess.run(program, capture_output=True, text=True))}
    if how == "traced":
        done = subprocess.run([SHAPER, "trace", "--", *program], capture_output=True, text=True)
        if done.returncode:
            raise BenchError(done.stderr.strip().splitlines()[-1])
        lost = re.search(r"(\d+) lost", done.stderr)
        return {"us": took(done), "lost": float(lost[1]) if lost else -1}
    # What the instance without a filter costs all others.
    with TemporaryDirectory() as directory:
        where = Path(directory, "recording")
        tracer = subprocess.Popen(
            [SHAPER, "trace", "--recording", str(where), "--", "sleep", "60"], stderr=subprocess.DEVNULL
        )
        try:
            while not (where / "snapshots.jsonl").exists():
                if tracer.poll() is not None:
                    raise BenchError("can't trace here; see `shaper doctor`")
                time.sleep(0.05)  # until it has begun
            return {"us": took(subprocess.run(program, capture_output=True, text=True))}
        finally:
            tracer.terminate()
            tracer.wait()


def took(done: subprocess.CompletedProcess[str]) -> float:
    found = re.search(r"took ([\d.]+)", done.stdout)
    if found is None:
        raise BenchError(done.stderr.strip().splitlines()[-1])
    return float(found[1]) / REQUESTS * 1e6


def analysis(_: str) -> dict[str, float]:
    """How long a recording is analysed, per million events, and the memory that takes."""
    with TemporaryDirectory() as directory:
        where = Path(directory, "recording")
        line = [SHAPER, "trace", "--longest", "1", "--recording", str(where), "--", sys.executable, "-c", PIPES]
        done = subprocess.run(line, capture_output=True, text=True)
        if done.returncode:
            raise BenchError(done.stderr.strip().splitlines()[-1])
        analysed = subprocess.run([sys.executable, "-c", ANALYSE, str(where)], capture_output=True, text=True)
        found = json.loads(analysed.stdout)
    millions = found["events"] / 1e6
    return {
        "events": found["events"],
        "lost": found["lost"],
        "seconds_per_million": found["seconds"] / millions,
        "cpu_per_million": found["cpu"] / millions,
        "mb": found["mb"],
    }


def tables(figures: Figures) -> list[Table]:
    requested = Table(title="Requests over loopback, beside the tracer", title_justify="left")
    for column in ("", "µs per request", "÷ alone", "events lost"):
        requested.add_column(column, justify="right" if column else "left")
    alone = figures["requests"].get("alone", {}).get("us")
    for name, row in figures["requests"].items():
        ratio = f"{row['us'] / alone:.2f}" if alone else "-"
        requested.add_row(name, f"{row['us']:.1f}", ratio, f"{row['lost']:.0f}" if "lost" in row else "-")
    analysed = Table(title="Analysis of a recording", title_justify="left")
    for column in ("", "events", "lost", "s per million", "CPU s per million", "MB"):
        analysed.add_column(column, justify="right" if column else "left")
    for name, row in figures["analysis"].items():
        analysed.add_row(
            name, f"{row['events']:,.0f}", f"{row['lost']:.0f}", f"{row['seconds_per_million']:.1f}",
            f"{row['cpu_per_million']:.1f}", f"{row['mb']:.0f}",
        )  # fmt: skip
    return [requested, analysed]
