"""`shaper release`: an end to all holds."""

from __future__ import annotations

from shaper.cli.running import Name, connect
from shaper.report.output import say

EXAMPLES = (
    "shaper release",
    "shaper pause web; shaper release web",
)


def release(name: Name = None) -> None:
    """Send all held packets on now, in order of their arrival.

    Packets that come later are held as before.
    """
    shaper = connect(name)
    held = shaper.status()["held"]
    state = shaper.release()
    say(f"{state['name']}: released what was held, {held:,} {'packet' if held == 1 else 'packets'} just before")
