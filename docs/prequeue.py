"""Makes the figures and the picture of docs/prequeue.md, in a minute or two: python -m docs.prequeue

Each measurement runs in a private network: `shaper run -- python -m docs.prequeue bulk`, or `urgent`. In it, a process
receives from one that it forks.
"""

from __future__ import annotations

import json
import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import matplotlib as mpl
from matplotlib.figure import Figure

from shaper.experiment.figure import COLOURS, End, label_lines, style
from shaper.report.figure.model import LIGHT, Theme
from shaper.report.figure.write import save

HERE = Path(__file__).parent
DOCUMENT, PICTURE = HERE / "prequeue.md", HERE / "prequeue.svg"
BEGIN, END = "<!-- figures -->\n", "<!-- end -->"
LINK = "rate:100mbit,direction=original"
BULK = 2 << 20
MESSAGES = 30
ROUNDS = 5
SHOWN = 400
"""Milliseconds that the picture shows."""


class Condition(NamedTuple):
    """One row of the figures: what it is called, its policy, its colour in the picture."""

    name: str
    spec: str
    colour: str


CONDITIONS = (
    Condition("without", "pass_through", LIGHT.muted),
    Condition("runs after 2 ms", "prequeue:wake=2ms", COLOURS[0]),
    Condition("runs after 10 ms", "prequeue:wake=10ms", COLOURS[4]),
    Condition("never runs in time", "prequeue:wake=10s", COLOURS[1]),
)


def measure(condition: Condition) -> dict[str, Any]:
    """Run both workloads once, and count the ACKs in the journal of the first."""
    with TemporaryDirectory() as folder:
        journal = Path(folder) / "journal"
        found = shaped("bulk", condition, "--policy", LINK, "--journal", str(journal))
        packets = [json.loads(line) for line in journal.read_text().splitlines()[1:]]
    found["acks"] = sum(packet.get("class") in ("pure-ack", "window-update", "dup-ack") for packet in packets)
    return found | shaped("urgent", condition)


def shaped(workload: str, condition: Condition, *before: str) -> dict[str, Any]:
    """What a workload measured, behind the condition's policy."""
    command = [sys.executable, "-m", "shaper", "run", *before, "--policy", condition.spec]
    done = subprocess.run(
        [*command, "--", sys.executable, "-m", "docs.prequeue", workload],
        cwd=HERE.parent, capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: {done.stderr.strip()}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def connection(sender: Callable[[socket.socket], None]) -> socket.socket:
    """The receiver's end; the sender runs in a process of its own."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        if os.fork() == 0:
            with socket.create_connection(server.getsockname()) as own:
                own.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sender(own)
            os._exit(0)
        return server.accept()[0]


def bulk() -> dict[str, Any]:
    """One sends much, the other sleeps in recv: rate, wakeups, and how much was read by when (ms, bytes)."""

    def send(own: socket.socket) -> None:
        own.sendall(bytes(BULK))

    with connection(send) as own:
        switches = resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw
        begin, read, steps = time.monotonic_ns(), 0, []
        while data := own.recv(1 << 20):
            read += len(data)
            steps.append((round((time.monotonic_ns() - begin) / 1e6, 3), read))
        switches = resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw - switches
    return {"mbit": read * 8 / 1e3 / steps[-1][0], "wakeups": len(steps), "switches": switches, "steps": steps}


def urgent() -> dict[str, Any]:
    """Small messages, each of which is answered: how long until the answer comes (ms)."""

    def send(own: socket.socket) -> None:
        while message := own.recv(100):
            own.send(message)

    times = []
    with connection(send) as own:
        own.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(MESSAGES):
            begin = time.monotonic_ns()
            own.send(b"urgent")
            own.recv(100)
            times.append((time.monotonic_ns() - begin) / 1e6)
    return {"answer_ms": median(times)}


def table(figures: dict[str, list[dict[str, Any]]]) -> str:
    rows = [
        "| the reader … | Mbit/s | wakeups | context switches | kB each | ACKs | urgent: answer after (ms) |",
        "|---|---|---|---|---|---|---|",
    ]
    for condition in CONDITIONS:
        values = {
            key: median(one[key] for one in figures[condition.name])
            for key in figures[condition.name][0]
            if key != "steps"
        }
        rows.append(
            f"| {condition.name} (`{condition.spec}`) | {values['mbit']:.0f} | {values['wakeups']:.0f} "
            f"| {values['switches']:.0f} | {BULK / values['wakeups'] / 1e3:.1f} | {values['acks']:.0f} "
            f"| {values['answer_ms']:.1f} |"
        )
    return "\n".join(rows) + "\n"


def picture(figures: dict[str, list[dict[str, Any]]]) -> None:
    """Draw how much had been read by when, and how long the answers took."""
    save(lambda theme: _picture(figures, theme), PICTURE, "the prequeue")


def _picture(figures: dict[str, list[dict[str, Any]]], theme: Theme) -> Figure:
    with mpl.rc_context({"font.size": 9, "font.family": "DejaVu Sans", "text.color": theme.ink}):
        figure = Figure(figsize=(9, 3.6), layout="constrained", facecolor=theme.paper)
        left, right = figure.subplots(1, 2, width_ratios=(2, 1))
        for axes in (left, right):
            style(axes, theme)
        ends = []
        for condition in CONDITIONS:
            steps = [step for step in figures[condition.name][0]["steps"] if step[0] <= SHOWN]
            times, sizes = zip(*steps, strict=True)
            left.step(times, [size / 1e6 for size in sizes], where="post", color=condition.colour)
            ends.append(End(times[-1], sizes[-1] / 1e6, condition.name, condition.colour))
        left.set_xlim(0, SHOWN)
        left.set_xlabel("ms since the connection stood", color=theme.ink)
        left.set_ylabel("MB read", color=theme.ink)
        left.set_title("bulk: each step is one wakeup of the reader", loc="left", color=theme.ink)
        label_lines(left, ends, theme)
        answers = [median(one["answer_ms"] for one in figures[condition.name]) for condition in CONDITIONS]
        bars = right.barh([c.name for c in CONDITIONS], answers, color=[c.colour for c in CONDITIONS])
        right.bar_label(bars, [f" {answer:.1f} ms" for answer in answers])
        right.set(xlabel="ms", xlim=(0, 1.4 * max(answers)))
        right.xaxis.label.set_color(theme.ink)
        right.set_title("urgent: until the answer", loc="left", color=theme.ink)
        right.invert_yaxis()
    return figure


def main() -> None:
    figures: dict[str, list[dict[str, Any]]] = {condition.name: [] for condition in CONDITIONS}
    for _ in range(ROUNDS):
        for condition in CONDITIONS:
            figures[condition.name].append(measure(condition))
    picture(figures)
    before, _, rest = DOCUMENT.read_text(encoding="utf-8").partition(BEGIN)
    DOCUMENT.write_text(before + BEGIN + table(figures) + END + rest.partition(END)[2], encoding="utf-8")
    print(table(figures), end="")


if __name__ == "__main__":
    if sys.argv[1:]:
        print(json.dumps({"bulk": bulk, "urgent": urgent}[sys.argv[1]]()))
    else:
        main()
