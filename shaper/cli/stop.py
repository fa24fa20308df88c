"""`shaper stop`: the end of a running shaper."""

from __future__ import annotations

from shaper.cli.running import Name, connect
from shaper.report.output import say

EXAMPLES = (
    "shaper stop",
    "shaper stop web",
)


def stop(name: Name = None) -> None:
    """End a running shaper, and wait until it has ended.

    Held packets go on, in order, and the rules are removed, as after Ctrl-C.
    """
    shaper = connect(name)
    shaper.end()
    say(f"{shaper.name} has ended")
