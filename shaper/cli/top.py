"""`shaper top`: a running shaper, on the whole screen."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from shaper.cli.options import duration
from shaper.cli.running import Name, connect
from shaper.errors import ShaperError, UsageError
from shaper.units import ms, s

EXAMPLES = (
    "shaper top",
    "shaper top web --interval 100ms",
)
INTERVAL = 500 * ms
SHORTEST = 100 * ms


def top(
    name: Name = None,
    interval: Annotated[
        int,
        typer.Option(
            metavar="TIME",
            parser=duration,
            show_default=False,
            help="Look this often; 100ms at least. [default: 500ms]",
        ),
    ] = INTERVAL,
) -> None:
    """Watch a running shaper full-screen, and change it with keys.

    Shows rates, lateness, the pipeline and the flows. Enter edits an option, p pauses and
    resumes, r releases what is held, s sorts the flows, q leaves. Watching delays no
    packet, and the shaper goes on when you leave.
    """
    if interval < SHORTEST:
        raise UsageError("--interval must be 100ms at least")
    try:
        from shaper.top.app import Top
    except ModuleNotFoundError as error:
        raise ShaperError("`shaper top` needs Textual: pip install 'nfq-shaper[top]'") from error
    shaper = connect(name)
    if not (sys.stdin.isatty() and sys.stderr.isatty()):  # Textual draws on standard error
        raise UsageError("`shaper top` needs a terminal; `shaper status` prints the state once")
    shaper.status()
    Top(shaper, shaper.name, interval=interval / s).run()
