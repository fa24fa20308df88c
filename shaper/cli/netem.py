"""`shaper netem`: the policies that do what a tc-netem line says."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

EXAMPLES = (
    "shaper netem 'delay 100ms 10ms distribution normal loss 1%'",
    "shaper netem 'tc qdisc add dev eth0 root netem rate 5mbit'",
    "shaper run --policy netem:'delay 100ms loss 1%' -- curl …",
)


def netem(
    line: Annotated[
        list[str],
        typer.Argument(
            metavar="LINE",
            help="The options of a `tc qdisc … netem` command, all of it, or what `tc qdisc show` writes.",
        ),
    ],
) -> None:
    """Translate a tc-netem line into a pipeline of policies.

    The line can also be used as it is: --policy netem:'LINE'. How each number was
    understood goes to standard error.
    """
    from shaper.spec.load import load_pipeline
    from shaper.spec.netem import read

    specs, readings = read(" ".join(line))
    load_pipeline(specs)
    width = max((len(reading.word) for reading in readings), default=0)
    before = ""
    for option, word, meaning in readings:
        print(f"{option if option != before else '':<12}  {word:<{width}}  {meaning}", file=sys.stderr)
        before = option
    for spec in specs:
        print(f"--policy {spec}")
    if not specs:
        print("no policy is needed: every packet goes on at once")
