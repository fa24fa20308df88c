"""./dev bench: measure shaper beside its peers, print tables and ratios."""

import argparse
import json
import platform
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

from rich.console import Console

from bench import targets
from bench.plan import Figures, Plan, say
from bench.programs import BenchError

NAMES = (
    "throughput", "punctuality", "virtual", "netem", "bulk", "latency", "growth", "cores",
    "startup", "micro", "tracing",
)  # fmt: skip


def main() -> int:
    """The exit status: 1 where --check is given and a target missed or not measured."""
    parser = argparse.ArgumentParser(prog="./dev bench", description="Measure shaper beside its peers, interleaved.")
    parser.add_argument("name", nargs="*", choices=[*NAMES, []], metavar="NAME", help=f"of {', '.join(NAMES)}; all")
    parser.add_argument("--check", action="store_true", help="exit with 1 when a target is missed")
    parser.add_argument("--quick", action="store_true", help="fewer conditions, 2 rounds of 2 s: rough")
    parser.add_argument("--rounds", type=int, help="measurements of which the median is printed (5)")
    parser.add_argument("--seconds", type=float, help="length of a sustained run (10)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep the figures; those of other runs in it stay")
    options = parser.parse_args()

    plan = Plan(2, 2, quick=True) if options.quick else Plan()
    plan = plan._replace(rounds=options.rounds or plan.rounds, seconds=options.seconds or plan.seconds)
    console = Console()
    figures: Figures = json.loads(options.json.read_text()) if options.json and options.json.exists() else {}
    console.print(f"{platform.platform()}, Python {platform.python_version()}, {cpu()}; medians of {plan.rounds}")
    try:
        for name in options.name or NAMES:
            module: ModuleType = import_module(f"bench.{name}")
            figures[name] = module.measure(plan)
            for table in module.tables(figures[name]):
                console.print(table)
            if options.json:
                options.json.write_text(json.dumps(figures, indent=1) + "\n")
    except BenchError as error:
        say(str(error))
        return 1
    table, all_met = targets.table(figures)
    console.print(table)
    return 1 if options.check and not all_met else 0


def cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{len(names)} CPUs, {names[0] if names else platform.machine()}"


if __name__ == "__main__":
    sys.exit(main())
