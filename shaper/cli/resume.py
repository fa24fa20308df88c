"""`shaper resume`: the end of `shaper pause`."""

from __future__ import annotations

from shaper.cli.running import Name, connect
from shaper.report.output import say

EXAMPLES = (
    "shaper resume",
    "shaper resume web",
)


def resume(name: Name = None) -> None:
    """Shape packets again, after `shaper pause`."""
    state = connect(name).resume()
    say(f"{state['name']}: {state['state']}")
