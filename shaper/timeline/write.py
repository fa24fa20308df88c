"""What happened to packets, such as those of a capture, as a story."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from shaper.core.core import MAX_HOLD
from shaper.core.verdict import Verdict
from shaper.timeline.dialogue import Dialogue
from shaper.timeline.packet_spec import Ends, ends_of, spec_of
from shaper.timeline.run import Names
from shaper.timeline.story import Event, Mention, Story, in_order
from shaper.units import format_duration
from shaper.wire.flow import format_end
from shaper.wire.packet import Packet
from shaper.wire.segment import SenderState


def write(
    specs: Sequence[str],
    packets: Sequence[Packet],
    verdicts: Iterable[Verdict],
    *,
    seed: int | str = 0,
    max_hold: int = MAX_HOLD,
) -> Story:
    """The story of these packets. Its text can be parsed, and `check` finds no difference.

    Args:
        specs: the pipeline, each policy as its SPEC.
        packets: those taken, in order; the story begins when the first one arrives.
        verdicts: what became of them.
        seed: as given to the core.
        max_hold: as given to the core, in ns.
    """
    begin = packets[0].arrived if packets else 0
    flows = _Flows()
    for packet in packets:
        flows.meet(packet)
    dialogue = Dialogue(flows.declared)
    events, named = [], {}
    now = begin
    for number, packet in enumerate(packets, 1):
        name = f"p{number}"
        named[name] = packet
        words = tuple(dialogue.describe(packet.raw, flows.number(packet)))
        # As in the core: time never goes back.
        now = max(now, packet.arrived)
        events.append(Event(now - begin, "<", (Mention(name, words),), packet.kind or "packet"))
    names = Names(named, dialogue, flows=flows.number)
    for verdict in verdicts:
        held = " + ".join(
            f"{format_duration(duration)} by {policy}" for policy, duration in verdict.packet.hold_times if duration
        )
        event = names.event(verdict)
        events.append(event._replace(at=event.at - begin, comment=f"held {held}" if held else ""))
    return Story(tuple(specs), tuple(in_order(events)), flows.declared, str(seed), max_hold)


class _Flows:
    """Numbers flows in the order in which they are first seen."""

    def __init__(self) -> None:
        self._numbers: dict[tuple[str, Ends], int] = {}
        self._declared: list[tuple[int, str, str]] = []

    @property
    def declared(self) -> tuple[tuple[int, str, str], ...]:
        return tuple(self._declared)

    def meet(self, packet: Packet) -> None:
        ends = ends_of(packet.raw)
        if self._key(packet, ends) in self._numbers:
            return
        number = len(self._declared) + 1
        tcp = packet.tcp
        if (tcp is not None and SenderState().classify(tcp) == "synack") or spec_of(packet.raw).answers:
            ends = ends.reverse
        self._numbers[self._key(packet, ends)] = self._numbers[self._key(packet, ends.reverse)] = number
        self._declared.append((number, format_end(ends.source, ends.sport), format_end(ends.destination, ends.dport)))

    def number(self, packet: Packet) -> int:
        """The number of the packet's flow; 1 if no packet that was taken belongs to it."""
        return self._numbers.get(self._key(packet, ends_of(packet.raw)), 1)

    @staticmethod
    def _key(packet: Packet, ends: Ends) -> tuple[str, Ends]:
        return packet.flow.protocol, ends
