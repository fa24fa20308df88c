"""The targets: ratios that one run on one machine must reach."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from rich.table import Table

from bench import neighbour
from bench.bulk import LO
from bench.memory import CAPTURED, COMPILED, replayed
from bench.plan import Figures
from bench.subjects import DEFAULT_TIMING
from bench.virtual_bulk import GUEST

MAIN = "64 bytes, 1 flow"
DELAY = "shaper delay 20 ms"
TRIAL = "ping of 10 packets, delay:1ms"
C_HOLD = "C hold 10 ms"
HELD_PACKET, FLOW = "a packet held by delay", "a flow, delay"
DEFAULT = f"shaper delay 10 ms, {DEFAULT_TIMING}"


class Target(NamedTuple):
    """A target.

    Attributes:
        find: takes one value or more from all figures; raises KeyError, or divides by 0, if one was not measured.
        is_met: must be true of each value.
    """

    what: str
    wanted: str
    find: Callable[[Figures], tuple[float, ...]]
    is_met: Callable[[float], bool]
    digits: int = 2


def ratio(over: tuple[str, ...], under: tuple[str, ...]) -> Callable[[Figures], tuple[float]]:
    """Finds the quotient of two figures."""
    return lambda figures: (at(figures, *over) / at(figures, *under),)


def at(figures: Figures, *path: str) -> float:
    """The figure at this path; KeyError if it was not measured."""
    found: Any = figures
    for key in path:
        found = found[key]
    return float(found)


def at_least(bound: float) -> Callable[[float], bool]:
    """Whether a value is this or more."""
    return lambda value: value >= bound


def at_most(bound: float) -> Callable[[float], bool]:
    """Whether a value is this or less, and above 0: nothing that is measured takes no time."""
    return lambda value: 0 < value <= bound


def throughput(subject: str, figure: str = "rate") -> tuple[str, ...]:
    """The path of a subject's figure under the main condition."""
    return ("throughput", MAIN, subject, figure)


def late(figure: str, *rates: int) -> Callable[[Figures], tuple[float, ...]]:
    """Finds a figure of lateness ÷ that of C, at each of these rates (packets/s)."""

    def find(figures: Figures) -> tuple[float, ...]:
        rows = [("punctuality", f"10 ms hold, {rate} packets/s") for rate in rates]
        return tuple(at(figures, *row, DEFAULT, figure) / at(figures, *row, C_HOLD, figure) for row in rows)

    return find


def beside(figures: Figures) -> tuple[float, ...]:
    """p50 and p99 of lateness ÷ those of C, both under SCHED_FIFO, beside a busy program, at each rate."""
    ours, theirs = (subject.name for subject in reversed(neighbour.subjects()))
    rows = [("neighbour", f"{rate} packets/s") for rate in neighbour.RATES]
    return tuple(
        at(figures, *row, ours, figure) / at(figures, *row, theirs, figure) for row in rows for figure in ("p50", "p99")
    )


def alone(figure: str) -> Callable[[Figures], tuple[float]]:
    """Finds a figure of a packet that travels alone, ÷ that of the C accept loop."""
    return ratio(("latency", "shaper pass_through", figure), ("latency", "C accept loop", figure))


def at_rest(figure: str) -> Callable[[Figures], tuple[float]]:
    """Finds a figure of the engine while no packets come, or few."""
    return lambda figures: (at(figures, "rest", "shaper delay 10 ms", figure),)


def memory(what: str) -> Callable[[Figures], tuple[float]]:
    """Finds the bytes that one of something takes, the core compiled."""
    return lambda figures: (at(figures, "memory", what, COMPILED, "bytes"),)


def watched(figure: str) -> Callable[[Figures], tuple[float]]:
    """Finds what a figure becomes while somebody looks, as a ratio."""
    path = ("control", "20000 packets/s")
    return ratio((*path, "watched", figure), (*path, "alone", figure))


HARM = {
    "stopped in order": ("lost", "twice", "out_of_order", "bypassed", "not_taken"),
    "front killed": ("lost", "twice", "out_of_order", "rules_left"),
}


def harmed(figures: Figures) -> tuple[float, ...]:
    """Packets lost, doubled, out of order or not shaped, and rules left, in each run of `changes`."""
    return tuple(at(figures, "changes", end, name) for end, names in HARM.items() for name in names)


def added_in_guest(figures: Figures) -> tuple[float]:
    """Mean lateness in µs beyond the latency of packets without any delay; infinite if packets were lost."""
    row = figures["virtual"]["10 ms hold, 1000 packets/s"]
    if row[DEFAULT]["lost"] or row["no delay"]["lost"]:
        return (math.inf,)
    return (row[DEFAULT]["mean"] - row["no delay"]["mean"],)


def help_seconds(figures: Figures) -> tuple[float]:
    """The seconds that help takes; infinite if it imports what it doesn't need."""
    row = figures["startup"]["shaper --help"]
    return (math.inf if row["heavy_imports"] else row["seconds"],)


TARGETS = [
    Target(
        "pass_through packets/s ÷ C accept loop", "≥ 0.9",
        ratio(throughput("shaper pass_through"), throughput("C accept loop")), at_least(0.9),
    ),
    Target(
        "delay:time=20ms packets/s ÷ C accept loop", "≥ 1.2",
        ratio(throughput(DELAY), throughput("C accept loop")), at_least(1.2),
    ),
    Target(
        "delay:time=20ms ÷ NetfilterQueue + scapy", "≥ 12",
        ratio(throughput(DELAY), throughput("NetfilterQueue + scapy")), at_least(12), 1,
    ),
    Target(
        "CPU/packet of delay:time=20ms ÷ C accept loop, 60 k/s", "≤ 2",
        ratio(throughput(DELAY, "cpu_us_at_60k"), throughput("C accept loop", "cpu_us_at_60k")), at_most(2),
    ),
    Target(
        "pass_through packets/s ÷ C accept loop, batched verdicts", "≥ 1",
        ratio(throughput("shaper pass_through"), throughput("C accept loop, batched verdicts")), at_least(1),
    ),
    Target("lateness p50 at 1 k/s, 20 k/s ÷ C hold", "≤ 0.25", late("p50", 1_000, 20_000), at_most(0.25)),
    Target("lateness p50 at 60 k/s ÷ C hold", "≤ 1.2", late("p50", 60_000), at_most(1.2)),
    Target("lateness p99 at 1 k/s, 20 k/s, 60 k/s ÷ C hold", "≤ 1", late("p99", 1_000, 20_000, 60_000), at_most(1)),
    Target(
        "lateness p99.9 at 1 k/s, 20 k/s, 60 k/s ÷ C hold", "≤ 1.2",
        late("p99.9", 1_000, 20_000, 60_000), at_most(1.2),
    ),
    Target("lateness p50, p99 with --realtime beside a busy program ÷ C hold", "≤ 1", beside, at_most(1)),
    Target("a lone packet's latency p50 ÷ C accept loop", "≤ 1.2", alone("p50"), at_most(1.2)),
    Target("a lone packet's latency p99 ÷ C accept loop", "≤ 1.5", alone("p99"), at_most(1.5)),
    Target("idle engine, % of a CPU", "≤ 0.2", at_rest("idle_percent"), at_most(0.2)),
    Target("CPU/packet of the engine at 100 packets/s, ms", "≤ 0.25", at_rest("cpu_ms"), at_most(0.25)),
    Target(
        f"mean lateness in the guest's virtual time, {DEFAULT_TIMING} (default), 1 k/s, µs", "≤ 15",
        added_in_guest, at_most(15), 1,
    ),
    Target(
        "TCP bulk through 20 ms, no --gso ÷ C hold", "≥ 0.7",
        ratio(("bulk", LO, DELAY, "mbit"), ("bulk", LO, "C hold 20 ms", "mbit")), at_least(0.7),
    ),
    Target(
        "TCP bulk through 20 ms in the guest, --gso ÷ netem", "≥ 0.9",
        ratio(*(("virtual_bulk", GUEST, subject, "mbit") for subject in (f"{DELAY} --gso", "netem"))), at_least(0.9),
    ),
    Target(
        "cost per packet, 60 k held ÷ 100 held", "≤ 1.5",
        ratio(("growth", "packets held", "60000", "cpu_us"), ("growth", "packets held", "100", "cpu_us")), at_most(1.5),
    ),
    Target("bytes of a packet held by delay, beyond its own", "≤ 300", memory(HELD_PACKET), at_most(300), 0),
    Target("bytes of a flow through delay", "≤ 600", memory(FLOW), at_most(600), 0),
    Target(
        "memory of a replay, 1,000,000 packets ÷ 100,000", "≤ 1.1",
        ratio(*(("memory", replayed(packets), COMPILED, "mb") for packets in reversed(CAPTURED))), at_most(1.1),
    ),
    Target("lateness p50 at 20 k/s, watched ÷ alone", "≤ 1.2", watched("p50"), at_most(1.2)),
    Target("lateness p99 at 20 k/s, watched ÷ alone", "≤ 1.5", watched("p99"), at_most(1.5)),
    Target("CPU/packet of the engine, watched ÷ alone", "≤ 1.05", watched("cpu_us"), at_most(1.05)),
    Target("packets harmed by 20 changes/s at 50 k/s, and by the front's end", "0", harmed, lambda harm: harm == 0, 0),
    Target("shaper --help, nothing imported in vain, seconds", "≤ 0.3", help_seconds, at_most(0.3)),
    Target(
        "a trial of an experiment beside its command, seconds", "≤ 0.35",
        lambda figures: (at(figures, "trials", TRIAL, "seconds"),), at_most(0.35), 3,
    ),
]  # fmt: skip


def table(figures: Figures) -> tuple[Table, bool]:
    """A table of the targets and of what was found, and whether all were measured and met."""
    made = Table(title="Targets", title_justify="left")
    made.add_column("what")
    for column in ("wanted", "found", ""):
        made.add_column(column, justify="right")
    all_met = True
    for target in TARGETS:
        try:
            values = target.find(figures)
        except (KeyError, ZeroDivisionError):
            found, met = "not measured", False
        else:
            found, met = ", ".join(f"{value:.{target.digits}f}" for value in values), all(map(target.is_met, values))
        made.add_row(target.what, target.wanted, found, "met" if met else "missed")
        all_met &= met
    return made, all_met
