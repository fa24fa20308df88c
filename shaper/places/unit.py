"""A unit of systemd: the control group of its processes, and their network namespace."""

from __future__ import annotations

import subprocess
from pathlib import Path

from shaper.errors import ShaperError, UsageError
from shaper.linux.programs import find
from shaper.places.cgroup import folder_of
from shaper.places.place import OWN, Found

PROPERTIES = ("LoadState", "ControlGroup", "MainPID")


class Unit:
    """Fulfils `Place`.

    Args:
        name: of the unit; without a suffix, that of a service.
    """

    ends = False

    def __init__(self, name: str) -> None:
        self.name, self.label = f"unit {name}", name

    def find(self) -> Found | None:
        """See `Place`."""
        known = _properties(self.label)
        if known["LoadState"] == "not-found":
            raise UsageError(f"systemd has no unit '{self.label}'; `systemctl list-units` lists them")
        if not (group := known["ControlGroup"]):
            return None
        netns = Path(f"/proc/{known['MainPID']}/ns/net") if known["MainPID"] not in ("", "0") else OWN
        return Found.at(netns, folder_of(group))


def _properties(unit: str) -> dict[str, str]:
    if find("systemctl") is None:
        raise ShaperError("systemctl is not installed; --cgroup takes the path of a control group")
    done = subprocess.run(
        ["systemctl", "show", f"--property={','.join(PROPERTIES)}", "--", unit],
        capture_output=True,
        text=True,
        errors="replace",
    )
    known = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
    if done.returncode or not known.keys() >= set(PROPERTIES):
        reason = done.stderr.strip().splitlines()
        raise ShaperError(f"systemctl: {reason[-1] if reason else f'status {done.returncode}'}")
    return known
