"""`shaper netem`: the policies that do what a tc-netem line says."""

from __future__ import annotations

from typing import Annotated

import typer

EXAMPLES = (
    "shaper netem 'delay 100ms 10ms distribution normal loss 1%'",
    "shaper netem 'tc qdisc add dev eth0 root netem rate 5mbit'",
    "shaper run --policy netem:'delay 100ms loss 1%' -- curl …",
)


def netem(
    line: Annotated[
        list[str], typer.Argument(metavar="LINE", help="The options of a `tc qdisc … netem` command, or all of it.")
    ],
) -> None:
    """Translate a tc-netem line into a pipeline of policies.

    The line can also be used as it is: --policy netem:'LINE'.
    """
    from shaper.spec.load import load_pipeline, split_spec
    from shaper.spec.netem import translate

    specs = translate(" ".join(line))
    load_pipeline(specs)
    for spec in specs:
        head, options = split_spec(spec)
        print(f"--policy {head}:{options}")
    if not specs:
        print("no policy is needed: every packet goes on at once")
