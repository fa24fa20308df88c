"""What the report of a failed test says about its network."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path

import pytest

from shaper.network import Packets
from shaper.network.waits import Wait

FILES = (".pcapng", ".jsonl")
"""The endings of a test's capture and journal."""
MOST_PACKETS, MOST_WAITS = 20, 5
"""The most packets and waits that are shown: the last ones."""


def text(policies: Sequence[str], seed: str, packets: Packets, waits: list[Wait], again: str) -> str:
    """The section of the report: how the network was shaped, what waited, the last packets.

    Args:
        policies, seed: how it was shaped.
        packets, waits: of the test.
        again: the command to see it again.
    """
    lines = [f"policies: {', '.join(policies) or 'none'}", f"seed: {seed}"]
    if waits:
        lines += ["", "the calls that waited last:"]
        lines += [f"    {wait}" for wait in waits[-MOST_WAITS:]]
    left_out = len(packets) - MOST_PACKETS
    lines += ["", f"the last {MOST_PACKETS} of {len(packets)} packets:" if left_out > 0 else f"{len(packets)} packets:"]
    lines += [f"    {packet}" for packet in packets[-MOST_PACKETS:]]
    lines += ["", "to see it again:", f"    {again}"]
    return "\n".join(lines)


def again(item: pytest.Item, seed: str) -> str:
    """The command that runs the test again in the same way."""
    options = item.config.option
    words = ["pytest", item.nodeid]
    words += [word for policy in options.shaper for word in ("--shaper", policy)]
    words += ["--shaper-profile", options.shaper_profile] if options.shaper_profile else []
    mark = item.get_closest_marker("shaper")
    if mark is None or "seed" not in mark.kwargs:
        words += ["--shaper-seed", seed]
    return shlex.join(words)


def place(folder: Path, nodeid: str, suffix: str) -> Path:
    """The file of a test in the folder of --shaper-keep."""
    folder.mkdir(parents=True, exist_ok=True)
    return (folder / (re.sub(r"[^\w.-]+", "_", nodeid) + suffix)).absolute()


def keep(folder: Path, nodeid: str, packets: Packets, *, has_failed: bool) -> None:
    """Keep the packets of a failed test as text beside its capture and journal, and nothing of one that passed."""
    if has_failed:
        place(folder, nodeid, ".txt").write_text(f"{packets}\n")
    else:
        for suffix in FILES:
            place(folder, nodeid, suffix).unlink(missing_ok=True)
