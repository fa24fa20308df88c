"""./dev bench: measures shaper beside its peers; prints tables and ratios."""

import argparse
import json
import math
import platform
import signal
import sys
import time
from importlib import import_module
from pathlib import Path
from types import ModuleType

from rich import box
from rich.console import Console
from rich.table import Table

from bench import targets
from bench.compiled import BenchError
from bench.plan import Figures, Plan, minutes, say

NAMES = (
    "throughput",
    "punctuality",
    "virtual",
    "bulk",
    "virtual_bulk",
    "latency",
    "rest",
    "neighbour",
    "growth",
    "memory",
    "cores",
    "startup",
    "trials",
    "micro",
    "control",
    "changes",
    "tracing",
)
ON_REQUEST = ("netem", "programs", "balance", "tail")
"""Parts that take long or need other programs, and that no target needs."""
RAN = "ran"
"""Under this name, FILE has when, how and on which machine each part was measured."""


def main() -> int:
    """Run the command. Returns the exit status: 1 if --check is given and a target was missed or not measured."""
    parser = argparse.ArgumentParser(prog="./dev bench", description="Measure shaper and its peers in turn.")
    every = f"the parts to measure: {', '.join(NAMES)} (without a name, all of these), {', '.join(ON_REQUEST)}"
    parser.add_argument("name", nargs="*", choices=[*NAMES, *ON_REQUEST, []], metavar="NAME", help=every)
    parser.add_argument("--check", action="store_true", help="exit with 1 if a target is missed or not measured")
    parser.add_argument("--quick", action="store_true", help="fewer conditions, 2 rounds of 2 s: rough")
    parser.add_argument("--rounds", type=whole, help="how often each is measured; the medians are printed (5)")
    parser.add_argument("--seconds", type=positive, help="length of a sustained run, in seconds (10)")
    parser.add_argument("--plan", action="store_true", help="print about how long each part takes; measure nothing")
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write the figures to FILE; those of other parts in it stay"
    )
    parser.add_argument(
        "--show", action="store_true", help="print the figures in --json FILE as Markdown; measure nothing"
    )
    options = parser.parse_args()
    if options.show and not (options.json and options.json.exists()):
        parser.error("--show needs the --json FILE of an earlier run")

    plan = Plan(2, 2, quick=True) if options.quick else Plan()
    plan = plan._replace(rounds=options.rounds or plan.rounds, seconds=options.seconds or plan.seconds)
    figures: Figures = json.loads(options.json.read_text()) if options.json and options.json.exists() else {}
    parts = {name: part(name) for name in options.name or NAMES}
    if options.plan:
        Console().print(times(parts, plan))
        return 0
    if options.show:
        return show(figures, options.check)

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that all it started is ended
    console = Console()
    console.print(f"{machine()}; medians of {plan.rounds}")
    for nth, (name, module) in enumerate(parts.items()):
        left = sum(each.expected(plan) for each in list(parts.values())[nth:])
        say(f"{name}: {minutes(module.expected(plan))}; with what follows, {minutes(left)}")
        begin = time.monotonic()
        try:
            figures[name] = module.measure(plan)
        except BenchError as error:
            say(f"not measured: {name}: {error}")
            figures.pop(name, None)
            continue
        for table in module.tables(figures[name]):
            console.print(table)
        took = round(time.monotonic() - begin)
        ran = plan._replace(rounds=getattr(module, "ROUNDS", plan.rounds))._asdict()
        figures.setdefault(RAN, {})[name] = ran | {"on": machine(), "at": time.ctime(), "took_s": took}
        if options.json:
            options.json.write_text(json.dumps(figures, indent=1) + "\n")
        say(f"{name} took {minutes(took)}")
    table, all_met = targets.table(figures)
    console.print(table)
    return 1 if options.check and not all_met else 0


def whole(text: str) -> int:
    """The number in a text, 1 or more."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is below 1")
    return value


def positive(text: str) -> float:
    """The number in a text, above 0."""
    value = float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"'{text}' is not above 0")
    return value


def part(name: str) -> ModuleType:
    """The module of a part.

    Each has `measure`, which returns figures, `expected`, which says about how many seconds that takes, and
    `tables`, which shows the figures.
    """
    return import_module(f"bench.{name}")


def times(parts: dict[str, ModuleType], plan: Plan) -> Table:
    """A table of how long each part takes, about."""
    expected = {name: module.expected(plan) for name, module in parts.items()}
    table = Table(title="About how long", title_justify="left")
    table.add_column("part")
    table.add_column("takes", justify="right")
    for name, seconds in [*expected.items(), ("together", sum(expected.values()))]:
        table.add_row(name, minutes(seconds))
    return table


def show(figures: Figures, check: bool) -> int:
    """Print the figures of an earlier run as they go into docs/performance.md."""
    console = Console(width=200)
    for name in [*NAMES, *ON_REQUEST]:
        if name not in figures:
            continue
        ran = figures[RAN][name]
        console.print(f"## {name}\n{ran['on']}, {ran['at']}; medians of {ran['rounds']}; {ran['took_s']} s")
        for table in part(name).tables(figures[name]):
            table.box = box.MARKDOWN
            console.print(table)
    table, all_met = targets.table(figures)
    table.box = box.MARKDOWN
    console.print(table)
    return 1 if check and not all_met else 0


def machine() -> str:
    """The machine on which all is measured."""
    return f"{platform.platform()}, Python {platform.python_version()}, {cpu()}"


def cpu() -> str:
    """The number of CPUs and their model."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{len(names)} CPUs, {names[0] if names else platform.machine()}"


if __name__ == "__main__":
    sys.exit(main())
