"""Connections that no policy will touch leave the queue, and pass at the kernel's own speed.

Their connection tracking entry gets a mark, by which the rules let their packets pass. It holds for both directions.
When the policies are changed, the rules ask for another mark from then on, and all connections come to the queue again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final

from shaper.core.connections import MOST, FlowState
from shaper.core.core import Core
from shaper.core.instances import Identity
from shaper.errors import ShaperError
from shaper.live import conntrack
from shaper.live.nfqueue.queue import BATCH
from shaper.live.rules import iptables
from shaper.live.rules.ruleset import MASK
from shaper.wire.packet import Packet

STEP: Final = 0x0001_0000
"""The least of the bits of a mark."""


class Connmark:
    """Marks connections, so that they leave the queue.

    Args:
        core: knows which ones.
        set_mark: see `Conntrack.mark`.
        mark: what the rules ask for.

    Attributes:
        connections: how many have left so far; after a change of the policies each counts anew.
    """

    def __init__(self, core: Core, set_mark: Callable[[bytes, int, int, bool], bool], mark: int) -> None:
        self.connections = 0
        self._core = core
        self._mark = mark
        self._set_mark = set_mark
        self._packets: dict[Identity, int] = {}  # how many came that could go
        self._left: set[Identity] = set()

    def renew(self, mark: int) -> None:
        """The policies have changed, and the rules ask for this mark from now on."""
        self._mark = mark
        self._forget()

    def see(self, packets: Sequence[Packet]) -> None:
        """These packets came, and the core has them: see whose connections can leave.

        The kernel doesn't know a connection until its first packet has passed all hooks. So this is tried at the
        first, second, fourth packet, and so on.
        """
        for packet in packets:
            state = packet.flow_state
            if not isinstance(state, FlowState) or state.instances or not self._core.is_done_with(packet):
                continue
            connection = state.connection
            number = self._packets[connection] = self._packets.get(connection, 0) + 1
            # Up to a batch of packets may have been taken together, before any went on.
            if number & number - 1 or not self._set_mark(packet.raw, self._mark, MASK, number > BATCH):
                continue
            if connection not in self._left:
                self._left.add(connection)
                self.connections += 1
        if len(self._packets) > MOST:
            self._forget()

    def _forget(self) -> None:
        self._packets.clear()
        self._left.clear()


def free_mark() -> int:
    """A mark that no connection of this network namespace has, and no rule asks for.

    So what an earlier run has marked, which the kernel remembers for days, doesn't count.

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
