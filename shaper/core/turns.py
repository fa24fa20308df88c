"""Turns: after a change of the pipeline, each packet waits for those of its flow that were held when it was made."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final, cast

from shaper.core.connections import FlowState
from shaper.core.verdict import Fate
from shaper.wire.packet import Packet

WAIT: Final = "change"
"""The name under which such a wait is noted among a packet's holds."""


class Waiting:
    """One flow with packets that go before others.

    Attributes:
        ahead: how many packets are held since before each change, by the number of the change.
        packets: those that wait, in order: since when (ns), the packet, its fate; by the number of the change that
            they came before.
    """

    __slots__ = ("ahead", "packets")

    def __init__(self) -> None:
        self.ahead: dict[int, int] = {}
        self.packets: dict[int, deque[tuple[int, Packet, Fate]]] = {}

    def goes_now(self, number: int) -> bool:
        """Whether a packet that came before this change needn't wait any more."""
        return not self.ahead or number <= min(self.ahead)


class Turns:
    """Whose turn it is, from the first change on until all packets are gone that were held then.

    Without it, a packet that came after a change from `delay:100ms` to `delay:10ms` would overtake those before it.
    """

    def __init__(self) -> None:
        self._changes = 0
        self._known: dict[Packet, int] = {}  # packets held at a change, as taken, with the number of the change
        self._flows: dict[FlowState, Waiting] = {}

    def __bool__(self) -> bool:
        return bool(self._flows)

    def change(self, held: Iterable[Packet]) -> None:
        """Let these packets, as taken, and those that wait go before all that come from now on."""
        for root in (*held, *(packet.root for _, packet in self._waiting())):
            if root not in self._known:
                self._known[root] = self._changes
                ahead = self._flows.setdefault(cast(FlowState, root.flow_state), Waiting()).ahead
                ahead[self._changes] = ahead.get(self._changes, 0) + 1
        self._changes += 1

    def leave(self, packet: Packet, fate: Fate, now: int) -> list[tuple[Packet, Fate]]:
        """Which packets leave the pipeline now that this one would, in order; none if it has to wait."""
        state = cast(FlowState, packet.flow_state)
        flow = self._flows.get(state)
        if flow is None:
            return [(packet, fate)]
        number = self._known.get(packet.root, self._changes)
        if fate != "dropped" and not flow.goes_now(number):
            flow.packets.setdefault(number, deque()).append((now, packet, fate))
            return []
        leaving = [(packet, fate)]
        self._gone(packet.root, flow)
        while flow.packets and flow.goes_now(number := min(flow.packets)):
            since, packet, fate = flow.packets[number].popleft()
            if not flow.packets[number]:
                del flow.packets[number]
            _note(packet, since, now)
            self._gone(packet.root, flow)
            leaving.append((packet, fate))
        if not flow.ahead:
            del self._flows[state]
        return leaving

    def _gone(self, root: Packet, flow: Waiting) -> None:
        number = self._known.pop(root, None)
        if number is not None:
            flow.ahead[number] -= 1
            if not flow.ahead[number]:
                del flow.ahead[number]

    def close(self, now: int) -> list[Packet]:
        """The packets that wait; from `now` (ns) on nothing waits."""
        found = []
        for since, packet in self._waiting():
            _note(packet, since, now)
            found.append(packet)
        self._known.clear()
        self._flows.clear()
        return found

    def _waiting(self) -> list[tuple[int, Packet]]:
        """The packets that wait, and since when (ns)."""
        flows = self._flows.values()
        return [(since, packet) for flow in flows for row in flow.packets.values() for since, packet, _ in row]


def _note(packet: Packet, since: int, now: int) -> None:
    if now > since:
        packet.root.note_hold(WAIT, now - since)
