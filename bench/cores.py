"""What several workers achieve: packets/s without loss, and CPU time per packet, from many source addresses."""

from rich.table import Table

from bench.namespace import CONSUMER_CPU, LOAD_CPU
from bench.plan import Figures, Plan
from bench.subjects import HERE, MS, Subject, shaper
from bench.throughput import PacketMix, seconds_for, sustained

VARIED = PacketMix(64, 64)
"""Bytes and source addresses; by the addresses, the kernel chooses a queue."""
WORKERS = {
    "1 worker": [CONSUMER_CPU],
    "2 workers": [CONSUMER_CPU, LOAD_CPU],
    "2 on 1 CPU": [CONSUMER_CPU, CONSUMER_CPU],
}
"""The CPU of each worker. Sender and receiver share one of the two CPUs."""
POLICIES = {
    "pass_through": ("pass_through", 0),
    "delay 20 ms": ("delay:time=20ms", 20 * MS),
    "scapy": (str(HERE / "policies" / "drop_psh_scapy.py"), 0),
}
"""From cheap to expensive: the SPEC, and how long it holds each packet (ns)."""


def measure(plan: Plan) -> Figures:
    """Conditions -> subjects -> packets/s and CPU time per packet."""
    return sustained(plan, subjects(), [VARIED])


def expected(plan: Plan) -> float:
    return seconds_for(plan, len(subjects()), 1)


def subjects() -> list[Subject]:
    """Each policy with each number of workers."""
    return [subject(policy, workers) for policy in POLICIES for workers in WORKERS]


def subject(policy: str, workers: str) -> Subject:
    """shaper with this policy of POLICIES and these workers of WORKERS."""
    spec, hold = POLICIES[policy]
    cpus = WORKERS[workers]
    options = ["--workers", str(len(cpus)), "--cpu", ",".join(map(str, cpus))]
    name = f"shaper {policy}, {workers}"
    return Subject(name, shaper(spec, options=options), hold, len(cpus))


def tables(figures: Figures) -> list[Table]:
    table = Table(
        title=f"Cores: UDP, 64 bytes, {VARIED.flows} source addresses, not one packet lost", title_justify="left"
    )
    table.add_column("subject")
    for column in ("packets/s", "÷ 1 worker", "CPU µs/packet", "at 60 k/s"):
        table.add_column(column, justify="right")
    found_of = figures.get(str(VARIED), {})
    for policy in POLICIES:
        base = found_of.get(subject(policy, "1 worker").name, {}).get("rate")
        for workers in WORKERS:
            name = subject(policy, workers).name
            if (found := found_of.get(name)) is not None:
                ratio = f"{found['rate'] / base:.2f}" if base else "-"
                at_60k = f"{found['cpu_us_at_60k']:.1f}" if "cpu_us_at_60k" in found else "-"
                table.add_row(name, f"{found['rate']:,.0f}", ratio, f"{found['cpu_us']:.1f}", at_60k)
    return [table]
