"""What tracing costs a program, and how much time and memory it takes to analyse a recording."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.table import Table

from bench.compiled import BenchError
from bench.plan import Figures, Plan, interleave
from bench.subjects import SHAPER

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
# A busy network: 64-byte datagrams over loopback, as fast as two processes can.
FLOOD = """
import socket
sink = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sink.bind(("127.0.0.1", 0))
source = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
source.connect(sink.getsockname())
while True:
    source.send(b"x" * 64)
"""
FLOODS = 2
HOWS = ("alone", "traced", "another is traced", "alone, busy", "another is traced, busy")
ANALYSE = """
import json, resource, sys, time
from pathlib import Path
from shaper.trace.report import report
from shaper.trace.read.source import read_trace
begin, cpu = time.monotonic(), time.process_time()
found = report(read_trace(Path(sys.argv[1])))
print(json.dumps({
    "events": found.events, "lost": found.lost, "seconds": time.monotonic() - begin,
    "cpu": time.process_time() - cpu, "mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
}))
"""


def measure(plan: Plan) -> Figures:
    """What a request takes beside the tracer, and what it takes to analyse a recording."""
    return {
        "requests": interleave(plan.rounds, HOWS, requests, str),
        "analysis": interleave(plan.rounds, ("recording of pipes",), analysis, str),
    }


def expected(plan: Plan) -> float:
    return plan.rounds * (len(HOWS) * 4 + 10)


def requests(how: str) -> dict[str, float]:
    """The mean of a request and its answer over loopback, in µs."""
    how, _, busy = how.partition(", ")
    with busy_network() if busy else nullcontext():
        return request(how)


def request(how: str) -> dict[str, float]:
    """The mean of a request, in µs, without other programs."""
    program = [sys.executable, "-c", SOCKETS]
    if how == "alone":
        return {"us": took(subprocess.run(program, capture_output=True, text=True))}
    if how == "traced":
        done = subprocess.run([SHAPER, "trace", "--", *program], capture_output=True, text=True)
        if done.returncode:
            raise BenchError(done.stderr.strip().splitlines()[-1])
        return {"us": took(done), **counts(done.stderr)}
    # This is what the instance without a filter costs all other programs.
    with TemporaryDirectory() as directory:
        where = Path(directory, "recording")
        line = [SHAPER, "trace", "--recording", str(where), "--", "sleep", "60"]
        tracer = subprocess.Popen(line, stderr=subprocess.PIPE, text=True)
        try:
            while not (where / "snapshots.jsonl").exists():
                if tracer.poll() is not None:
                    raise BenchError("can't trace here; see `shaper doctor`")
                time.sleep(0.05)  # until it has begun
            took_us = took(subprocess.run(program, capture_output=True, text=True))
        finally:
            tracer.terminate()
            _, said = tracer.communicate()
    return {"us": took_us, **counts(said)}


@contextmanager
def busy_network() -> Iterator[None]:
    """Other programs send all the time, in networks of their own."""
    line = ["unshare", "-n", "sh", "-c", 'ip link set lo up; exec "$@"', "sh", sys.executable, "-c", FLOOD]
    floods = [subprocess.Popen(line) for _ in range(FLOODS)]
    try:
        time.sleep(0.5)  # until they have begun
        yield
    finally:
        for flood in floods:
            flood.kill()
            flood.wait()


def counts(said: str) -> dict[str, float]:
    """What the tracer says of its events."""
    found = re.search(r"(\d+) events in .*, (\d+) lost", said)
    return {"events": float(found[1]), "lost": float(found[2])} if found else {}


def took(done: subprocess.CompletedProcess[str]) -> float:
    """The mean in what the program printed, in µs."""
    found = re.search(r"took ([\d.]+)", done.stdout)
    if found is None:
        raise BenchError(done.stderr.strip().splitlines()[-1])
    return float(found[1]) / REQUESTS * 1e6


def analysis(_: str) -> dict[str, float]:
    """How long it takes to analyse a recording, per million events, and how much memory."""
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
    for column in ("", "µs per request", "÷ alone", "events", "lost"):
        requested.add_column(column, justify="right" if column else "left")
    for name, row in figures["requests"].items():
        alone = figures["requests"].get("alone, busy" if "busy" in name else "alone", {}).get("us")
        ratio = f"{row['us'] / alone:.2f}" if alone else "-"
        events = [f"{row[key]:,.0f}" if key in row else "-" for key in ("events", "lost")]
        requested.add_row(name, f"{row['us']:.1f}", ratio, *events)
    analysed = Table(title="Analysis of a recording; at most 10 s per million events are wanted", title_justify="left")
    for column in ("", "events", "lost", "s per million", "CPU s per million", "MB"):
        analysed.add_column(column, justify="right" if column else "left")
    for name, row in figures["analysis"].items():
        analysed.add_row(
            name, f"{row['events']:,.0f}", f"{row['lost']:.0f}", f"{row['seconds_per_million']:.1f}",
            f"{row['cpu_per_million']:.1f}", f"{row['mb']:.0f}",
        )  # fmt: skip
    return [requested, analysed]
