"""Connections that no policy will touch leave the queue, and pass at the kernel's own speed.

Their connection tracking entry gets a mark, by which the rules let their packets pass. It holds for both directions.
When the policies are changed, the rules ask for another mark from then on (see rules/connmark.py), and all connections
come to the queue again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from shaper.core.connections import MOST, FlowState
from shaper.core.core import Core
from shaper.core.instances import Identity
from shaper.live.rules.ruleset import MASK
from shaper.wire.packet import Packet


class Connmark:
    """Marks connections, so that they leave the queue.

    Args:
        core: knows which ones.
        set_mark: see `Conntrack.mark`.
        mark: what the rules ask for.

    Attributes:
        connections: how many have left so far; after a change of the policies each counts anew.
    """

    def __init__(self, core: Core, set_mark: Callable[[bytes, int, int], bool], mark: int) -> None:
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
            if number & number - 1 or not self._set_mark(packet.raw, self._mark, MASK):
                continue
            if connection not in self._left:
                self._left.add(connection)
                self.connections += 1
        if len(self._packets) > MOST:
            self._forget()

    def _forget(self) -> None:
        self._packets.clear()
        self._left.clear()
