"""`shaper pause`: packets pass unshaped for a while."""

from __future__ import annotations

from shaper.cli.running import Name, connect
from shaper.report.output import say

EXAMPLES = (
    "shaper pause",
    "shaper pause web; make test; shaper resume web",
)


def pause(name: Name = None) -> None:
    """Let packets pass unshaped until `shaper resume`.

    The rules stay. Packets pass at once, but never ahead of those of their flow that are
    still held.
    """
    state = connect(name).pause()
    say(f"{state['name']}: paused, {state['held']:,} packets are still held")
