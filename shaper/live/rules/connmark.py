"""The mark of connections that have left the queue, in their connection tracking entries (see shaper/live/connmark.py).

Each run has a mark that no connection has yet, so that those of an earlier run, which the kernel remembers for days,
don't count. So has each change of the policies.
"""

from __future__ import annotations

import re
from typing import Final

from shaper.errors import ShaperError
from shaper.live import conntrack
from shaper.live.rules import iptables
from shaper.live.rules.ruleset import MASK

STEP: Final = 0x0001_0000
"""The least of these bits."""


def free_mark() -> int:
    """A mark that no connection of this network namespace has, and no rule asks for.

    Raises:
        ShaperError: all are in use; this kernel tracks no connections, or it is not permitted.
    """
    try:
        used = {mark & MASK for mark in conntrack.marks()}
    except OSError as error:
        raise ShaperError(
            f"--connmark needs connection tracking: {error.strerror} (try `modprobe nf_conntrack_netlink`)"
        ) from error
    for family in iptables.families():
        for line in iptables.save(family):
            used |= {int(mark, 0) & MASK for mark in re.findall(rf"--mark (\w+)/{MASK:#x}", line)}
    for mark in range(STEP, MASK + STEP, STEP):
        if mark not in used:
            return mark
    raise ShaperError("all marks for --connmark are in use by connections: `conntrack -F` forgets these")
