"""`shaper replay`: a capture through policies, in virtual time."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from shaper.cli.options import Json, MaxHold, Policies, Seed
from shaper.core import MAX_HOLD

EXAMPLES = (
    "shaper replay in.pcap --policy spread_burst:gap=10ms -o out.pcapng",
    "shaper replay in.pcap --policy ./drop_third.py --timeline",
)


def replay(
    capture: Annotated[Path, typer.Argument(metavar="IN.pcap", help="A pcap or pcapng file.")],
    policy: Policies,
    seed: Seed = "0",
    max_hold: MaxHold = MAX_HOLD,
    json: Json = None,
) -> int:
    """Run a capture through policies, in virtual time.

    Needs no privileges. Every packet is taken at its capture time and leaves when the
    policies say, to the nanosecond; the same capture and seed give the same result.
    """
    return 0
