"""The kernel's netem on lo, and the policy that stands in for it where there is none."""

from __future__ import annotations

import re
import subprocess
from typing import NamedTuple

from shaper.errors import UsageError

DELAY = re.compile(r"delay (\d+(?:\.\d+)?(?:us|ms|s))")


class StandIn(NamedTuple):
    """What stands in for netem.

    Attributes:
        policy: its SPEC.
        why: why there is no netem here.
    """

    policy: str
    why: str

    def __str__(self) -> str:
        return f"{self.why}; {self.policy} stands in"


def set_up(arguments: str) -> StandIn | None:
    """Set netem up on lo of this network namespace. Returns what has to stand in for it; None if nothing has to.

    Args:
        arguments: as in tc-netem(8).

    Raises:
        UsageError: tc doesn't understand the arguments; or there is no netem and no stand-in for these.
    """
    try:
        command = ["tc", "qdisc", "add", "dev", "lo", "root", "netem", *arguments.split()]
        done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", check=False)
    except FileNotFoundError:
        missing = "no tc here"
    else:
        if done.returncode == 0:
            return None
        if "unknown" not in done.stderr:
            raise UsageError(f"netem {arguments}: {done.stderr.strip().splitlines()[0]}")
        missing = "this kernel has no netem"
    delay = DELAY.fullmatch(arguments)
    if delay is None:
        raise UsageError(f"{missing}, and only `delay TIME` has a stand-in, not '{arguments}'")
    return StandIn(f"delay:time={delay[1]}", missing)
