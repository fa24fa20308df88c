"""Turns: after a change, each packet of a flow waits for those that were in the pipeline when it was made."""

from __future__ import annotations

from collections import deque
from typing import Final

from shaper.core.verdict import Fate
from shaper.wire.packet import Packet

WAIT: Final = "change"
"""The name under which such a wait is noted among a packet's holds."""


class Turns:
    """Whose turn it is in one flow, from a change on until all its packets are gone that were there then.

    Without it, a packet that came after a change from `delay:100ms` to `delay:10ms` would overtake those before it.

    Args:
        first: the number of changes before the flow's packets that are in the pipeline now.
    """

    def __init__(self, first: int) -> None:
        self._first = first
        self._ahead: dict[int, int] = {}  # packets in the pipeline, by the number of changes before they came
        # Those of other packets that wait, in order: since when (ns), the packet, its fate; by the same number.
        self._waiting: dict[int, deque[tuple[int, Packet, Fate]]] = {}

    def __bool__(self) -> bool:
        return bool(self._ahead)

    def change(self, number: int, inside: int) -> None:
        """Later packets wait for all that are in the pipeline now.

        Args:
            number: of changes before the last ones of these.
            inside: how many there are.
        """
        latest = inside - sum(self._ahead.values())
        if latest > 0:
            self._ahead[number] = latest

    def leave(self, packet: Packet, fate: Fate, now: int) -> list[tuple[Packet, Fate]]:
        """Which packets leave the pipeline now that this one would, in order; none if it has to wait."""
        number = self._number(packet)
        if fate != "dropped" and not self._goes_now(number):
            self._waiting.setdefault(number, deque()).append((now, packet, fate))
            return []
        leaving = [(packet, fate)]
        self._gone(number)
        while self._waiting and self._goes_now(number := min(self._waiting)):
            since, packet, fate = self._waiting[number].popleft()
            if not self._waiting[number]:
                del self._waiting[number]
            _note(packet, since, now)
            self._gone(number)
            leaving.append((packet, fate))
        return leaving

    def close(self, now: int) -> list[Packet]:
        """The packets that wait; from `now` (ns) on none does."""
        found = []
        for row in self._waiting.values():
            for since, packet, _ in row:
                _note(packet, since, now)
                found.append(packet)
        self._ahead.clear()
        self._waiting.clear()
        return found

    def _number(self, packet: Packet) -> int:
        """The number of changes before a packet; those that came before the flow had turns are all alike."""
        return max(packet.root.turn, self._first)

    def _goes_now(self, number: int) -> bool:
        """Whether a packet with this many changes before it needn't wait any more."""
        return not self._ahead or number <= min(self._ahead)

    def _gone(self, number: int) -> None:
        if number in self._ahead:
            self._ahead[number] -= 1
            if not self._ahead[number]:
                del self._ahead[number]


def _note(packet: Packet, since: int, now: int) -> None:
    if now > since:
        packet.root.note_hold(WAIT, now - since)
