"""The ratios that are to be reached, in one run on one machine."""

from collections.abc import Callable
from typing import Any, NamedTuple

from rich.table import Table

from bench.plan import Figures

MAIN = "64 bytes, 1 flow"
DELAY = "shaper delay 20 ms"
PUNCTUAL = "10 ms hold, 20000 packets/s"


class Target(NamedTuple):
    """`find` reads the value from all figures; KeyError where it wasn't measured."""

    what: str
    wanted: str
    find: Callable[[Figures], float]
    is_met: Callable[[float], bool]
    digits: int = 2


def ratio(over: tuple[str, ...], under: tuple[str, ...]) -> Callable[[Figures], float]:
    return lambda figures: at(figures, *over) / at(figures, *under)


def at(figures: Figures, *path: str) -> float:
    found: Any = figures
    for key in path:
        found = found[key]
    return float(found)


def at_least(bound: float) -> Callable[[float], bool]:
    return lambda value: value >= bound


def at_most(bound: float) -> Callable[[float], bool]:
    return lambda value: value <= bound


def throughput(subject: str, figure: str = "rate") -> tuple[str, ...]:
    return ("throughput", MAIN, subject, figure)


def lateness(figures: Figures, percentile: str, bound: float) -> float:
    """How much of what is allowed is used: the bound in µs, or 1.5 times the C equivalent's, whichever is more."""
    row = figures["punctuality"][PUNCTUAL]
    return float(row["shaper delay 10 ms"][percentile] / max(bound, 1.5 * row["C hold 10 ms"][percentile]))


def added_in_guest(figures: Figures) -> float:
    """Mean lateness in µs beyond the way that packets have without any delay."""
    row = figures["virtual"]["470 packets/s"]
    return float(row[DELAY]["mean"] - row["no delay"]["mean"])


TARGETS = [
    Target(
        "pass_through packets/s ÷ C accept loop", "≥ 0.9",
        ratio(throughput("shaper pass_through"), throughput("C accept loop")), at_least(0.9),
    ),
    Target(
        "delay:time=20ms packets/s ÷ C accept loop", "≥ 0.6",
        ratio(throughput(DELAY), throughput("C accept loop")), at_least(0.6),
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
        "lateness p50 at 20 k/s ÷ max(30 µs, 1.5 C hold)", "≤ 1",
        lambda figures: lateness(figures, "p50", 30), at_most(1),
    ),
    Target(
        "lateness p99 at 20 k/s ÷ max(300 µs, 1.5 C hold)", "≤ 1",
        lambda figures: lateness(figures, "p99", 300), at_most(1),
    ),
    Target("mean lateness in the guest's virtual time, µs", "≤ 15", added_in_guest, at_most(15), 1),
    Target(
        "TCP bulk through 20 ms, no --gso ÷ C hold", "≥ 0.7",
        ratio(("bulk", DELAY, "mbit"), ("bulk", "C hold 20 ms", "mbit")), at_least(0.7),
    ),
    Target(
        "cost per packet, 60 k held ÷ 100 held", "≤ 1.5",
        ratio(("growth", "packets held", "60000", "cpu_us"), ("growth", "packets held", "100", "cpu_us")), at_most(1.5),
    ),
    Target(
        "shaper --help, seconds", "≤ 0.3",
        lambda figures: at(figures, "startup", "shaper --help", "seconds"), at_most(0.3),
    ),
    Target(
        "packages imported by help in vain", "0",
        lambda figures: at(figures, "startup", "shaper --help", "heavy_imports"), at_most(0), 0,
    ),
    Target(
        "seconds to analyse 1 million events of a trace", "≤ 10",
        lambda figures: at(figures, "tracing", "analysis", "recording of pipes", "seconds_per_million"),
        at_most(10), 1,
    ),
]  # fmt: skip


def table(figures: Figures) -> tuple[Table, bool]:
    """Each target with what was found, and whether all were measured and met."""
    made = Table(title="Targets", title_justify="left")
    made.add_column("what")
    for column in ("wanted", "found", ""):
        made.add_column(column, justify="right")
    all_met = True
    for target in TARGETS:
        try:
            value = target.find(figures)
        except KeyError:
            found, met = "not measured", False
        else:
            found, met = f"{value:.{target.digits}f}", target.is_met(value)
        made.add_row(target.what, target.wanted, found, "met" if met else "missed")
        all_met &= met
    return made, all_met
