"""`shaper compare`: a workload under several network conditions, and the waits that a constant delay hides."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from shaper.cli.options import FigureFile, Json, Seed, duration, profile_names
from shaper.cli.probe import Mtu, Timeout, Workload
from shaper.errors import UsageError
from shaper.units import s

EXAMPLES = (
    "shaper compare",
    "shaper compare --workload http --figure http.svg",
    "shaper compare --condition none --condition 'slow=delay:20ms | spread_burst'",
    "shaper compare --condition 'netem:\"delay 50ms\"' -- ./mytest.sh",
)


def compare(
    command: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="COMMAND",
            help="Run this command, given after --, instead of a workload. Its calls are timed by the kernel's "
            "tracer, or by strace.",
        ),
    ] = None,
    workload: Workload = "netcat",
    condition: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=SPEC[ | SPEC…]",
            help='A name and its pipeline; or none; or netem:"ARGUMENTS", the kernel\'s netem. May be repeated. '
            "[default: none, netem, a constant delay, a spread burst, a held ACK, a late SYN-ACK]",
        ),
    ] = None,
    profile: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME|FILE",
            help="A network to imitate, as a further condition; see `shaper profiles`. May be repeated. Without "
            "--condition, it is compared with none.",
            autocompletion=profile_names,
        ),
    ] = None,
    repeat: Annotated[
        int, typer.Option(metavar="N", min=1, help="Run each condition N times; the result has the medians.")
    ] = 3,
    threshold: Annotated[
        int | None,
        typer.Option(
            metavar="TIME", parser=duration, help="Count shorter waits as 0. [default: 5ms, for a command 10ms]"
        ),
    ] = None,
    timeout: Timeout = 10 * s,
    seed: Seed = "0",
    mtu: Mtu = 1500,
    figure: FigureFile = None,
    json: Json = None,
) -> int:
    """Run a workload under several conditions, and show what waited.

    The report says how long each system call waited under each network condition. Each
    condition has a private network namespace, so this needs no root. Calls that wait
    under some condition, but not under netem, are marked: a constant delay hides them.
    """
    from shaper.experiment import execute
    from shaper.experiment.compare import traced
    from shaper.experiment.compare.comparison import Comparison, show
    from shaper.experiment.compare.conditions import DEFAULT, imitate, parse
    from shaper.experiment.compare.figure import panels
    from shaper.experiment.compare.plan import Compare
    from shaper.experiment.compare.rows import THRESHOLD
    from shaper.experiment.results import Results
    from shaper.experiment.run import run
    from shaper.linux import proc, programs
    from shaper.probe.ends.workload import load
    from shaper.report.figure.write import write
    from shaper.report.output import console, write_json

    load(workload)
    if command:
        programs.check(command[0])
    if figure is not None and command:
        raise UsageError("a figure shows the calls and packets of a workload, not of a command")
    conditions = [parse(text) for text in condition or (("none",) if profile else DEFAULT)]
    conditions += [imitate(name) for name in profile or ()]
    names = [each.name for each in conditions]
    if len(set(names)) < len(names):
        raise UsageError(f"two conditions have the same name: {', '.join(names)}")
    out = console(json)
    total = repeat * len(conditions)
    with TemporaryDirectory(prefix="shaper-compare-") as traces:
        plan = Compare(
            conditions,
            repeat,
            Path(traces),
            command=tuple(command or ()),
            workload="" if command else workload,
            seed=seed,
            timeout=timeout,
        )
        found = Results(plan.about())
        complete = run(plan.trials(), found, plan.result, out, total=total, executor=partial(execute, mtu=mtu))
    if not complete:
        out.print(f"interrupted: {len(found.of)} of {total} trials are done")
    if not found.of:
        return 1
    what = " ".join(command) if command else workload
    least = threshold if threshold is not None else traced.THRESHOLD if command else THRESHOLD
    comparison = Comparison(what, plan.columns(), least)
    show(comparison, out)
    found.show_doubts(out)
    if figure is not None:
        title = f"{workload}: what a constant delay hides"
        write(panels(comparison), figure, title=title, where=f"measured on {proc.machine()}")
        out.print(f"figure: {figure}", markup=False)
    write_json(comparison.as_json(), json)
    return 0 if complete else 130
