"""The subjects that are measured: shaper with several policies, and what one would use instead."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, get_args

from bench.compiled import program
from bench.namespace import QUEUE
from shaper.live.choices import Timing
from shaper.live.settings import Settings

HERE = Path(__file__).parent
MS = 1_000_000
SHAPER = str(HERE.parent / ".venv-compiled/bin/shaper")
"""shaper as users install it; see `./dev compile`."""
NOT_COMPILED = str(Path(sys.executable).with_name("shaper"))
DEFAULT_TIMING = Settings.timing


class Subject(NamedTuple):
    """A program that gives the verdicts on the packets in queue 0, or in several queues from 0 on.

    Attributes:
        hold: how long it holds every packet, in ns.
        queues: how many queues.
    """

    name: str
    command: Sequence[str]
    hold: int = 0
    queues: int = 1

    @property
    def is_shaper(self) -> bool:
        """Whether it is shaper."""
        return self.name.startswith("shaper")


def c_program(name: str, *arguments: str) -> list[str]:
    """The command of a program of bench/c."""
    return [program(name), str(QUEUE), *arguments]


def peer(name: str, *arguments: str) -> list[str]:
    """The command of a program of bench/peers."""
    return [sys.executable, str(HERE / "peers" / f"{name}.py"), str(QUEUE), *arguments]


def shaper(*policies: str, options: Sequence[str] = ()) -> list[str]:
    """`shaper start` on the benchmark's own rule and queue; fail-open is off, and segments cut, as in all subjects."""
    command = [SHAPER, "start", "--queue", str(QUEUE), "--no-rules", "--json", "--no-gso"]
    # The guardian shares the CPU, and at nice -20 shaper leaves it no time to look at shaper.
    command += ["--fail", "closed", "--watchdog", "60s", *options]
    for policy in policies:
        command += ["--policy", policy]
    return command


def milliseconds(hold: int) -> str:
    """A hold (ns) in ms, as options have it."""
    return f"{hold / MS:g}"


def no_queue() -> Subject:
    """Packets pass no queue."""
    return Subject("no queue", [])


def c_accept() -> Subject:
    """The C way to accept every packet, with one verdict per packet."""
    return Subject("C accept loop", c_program("accept"))


def c_hold(hold: int = 20 * MS, *options: str) -> Subject:
    """The C way to hold packets; with the option `gso`, it takes TCP packets uncut."""
    name = ", ".join([f"C hold {milliseconds(hold)} ms", *options])
    return Subject(name, c_program("hold", milliseconds(hold), *options), hold)


def shaper_delay(hold: int = 20 * MS, *options: str) -> Subject:
    """shaper holds every packet this long (ns)."""
    name = ", ".join([f"shaper delay {milliseconds(hold)} ms", *options])
    return Subject(name, shaper(f"delay:time={milliseconds(hold)}ms", options=options), hold)


def shaper_pass() -> Subject:
    """shaper holds nothing."""
    return Subject("shaper pass_through", shaper("pass_through"))


def not_compiled(subject: Subject) -> Subject:
    """The same subject, with no part of shaper compiled."""
    return subject._replace(name=f"{subject.name}, not compiled", command=[NOT_COMPILED, *subject.command[1:]])


def scapy_accept() -> Subject:
    """What most scripts do: look at each packet with scapy."""
    return Subject("NetfilterQueue + scapy", peer("scapy_accept"))


def throughput_subjects() -> list[Subject]:
    """All whose throughput is measured."""
    policies = HERE / "policies"
    return [
        c_accept(),
        Subject("C accept loop, batched verdicts", c_program("accept", "batch")),
        c_hold(),
        Subject("NetfilterQueue accept", peer("accept")),
        Subject("fnfqueue accept", peer("fnfqueue_accept")),
        scapy_accept(),
        shaper_pass(),
        shaper_delay(),
        not_compiled(shaper_pass()),
        not_compiled(shaper_delay()),
        Subject("shaper spread_burst", shaper("spread_burst:gap=1us")),
        Subject("shaper, pipeline of three", shaper("delay:time=20ms", "loss:0%", "spread_burst:gap=1us"), 20 * MS),
        Subject("shaper, policy from a file", shaper(str(policies / "drop_psh.py"))),
        Subject("shaper, policy with packet.scapy()", shaper(str(policies / "drop_psh_scapy.py"))),
    ]


def hold_subjects(hold: int) -> list[Subject]:
    """Subjects that hold every packet this long (ns): C, a deadline loop in trio, shaper in each timing mode."""
    return [
        c_hold(hold),
        Subject(f"trio deadlines {milliseconds(hold)} ms", peer("trio_hold", milliseconds(hold)), hold),
        *(shaper_timed(hold, timing) for timing in get_args(Timing)),
    ]


def naive_hold(hold: int) -> Subject:
    """What one writes first in Python."""
    return Subject(f"naive Python loop {milliseconds(hold)} ms", peer("naive_hold", milliseconds(hold)), hold)


def shaper_timed(hold: int, timing: str) -> Subject:
    """shaper holds every packet this long (ns), in this timing mode."""
    return Subject(
        f"shaper delay {milliseconds(hold)} ms, {timing}",
        shaper(f"delay:time={milliseconds(hold)}ms", options=["--timing", timing]),
        hold,
    )
