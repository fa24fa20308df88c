"""`shaper set`: other options for a stage of a running shaper."""

from __future__ import annotations

from typing import Annotated

import typer

from shaper.cli.running import NameOption, changes, connect
from shaper.report.output import say

EXAMPLES = (
    "shaper set delay:time=50ms",
    "shaper set delay:time=50ms,jitter=10ms loss:2%",
    "shaper set --name web 'delay#2:order=free'",
)


def set(
    change: Annotated[
        list[str],
        typer.Argument(
            metavar="STAGE:option=value[,…]",
            help="A stage, as `shaper status` names it, and its new options.",
            autocompletion=changes,
        ),
    ],
    name: NameOption = None,
) -> None:
    """Change options of stages while a shaper runs, without a gap.

    Packets taken from now on meet the new options; packets already held keep their time.
    All options of a stage change at once, or none if one is wrong. Of several stages,
    one changes after the other; to change them at once, use `shaper replace`.
    """
    from shaper.top.stage import in_force, options_given

    shaper = connect(name)
    wanted = [options_given(text) for text in change]
    for stage, options in wanted:
        say(in_force(shaper.set(stage, options)))
