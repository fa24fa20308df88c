"""What happened to packets, such as those of a capture, as a story."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from shaper.core.core import MAX_HOLD
from shaper.core.verdict import Verdict
from shaper.timeline.dialogue import Dialogue
from shaper.timeline.packet_spec import Ends, ends_of, spec_of
from shaper.timeline.run import Names
from shaper.timeline.story import ORDER, Event, Mention, Story, flow_lines, lines_of
from shaper.units import format_duration
from shaper.wire.flow import format_end
from shaper.wire.naming import Namer
from shaper.wire.packet import Packet
from shaper.wire.segment import SenderState

Happening = tuple[int, int, Packet | Verdict]
"""When (ns), the place of its kind in `ORDER`, and the packet that arrived, or its verdict."""
AT_ONCE = 1000
"""How many events are turned into text at once; their comments are in one column."""


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
        packets: those taken, in order, with different ids; the story begins when the first one arrives.
        verdicts: what became of them.
        seed: as given to the core.
        max_hold: as given to the core, in ns.
    """
    told = _Telling()
    happenings, now = [], packets[0].arrived if packets else 0
    for packet in packets:
        # As in the core: time never goes back.
        now = max(now, packet.arrived)
        happenings.append((now, 0, packet))
    events = told.events([*happenings, *map(_happening, verdicts)])
    return Story(tuple(specs), tuple(events), tuple(told.flows.declared), str(seed), max_hold)


class StoryWriter:
    """Writes the story of a replay while it runs, with no more in memory than is held.

    Args:
        specs, seed, max_hold: as for `write`.
        out: gets the text, some lines at a time.
    """

    def __init__(
        self, specs: Sequence[str], out: Callable[[str], object], *, seed: int | str = 0, max_hold: int = MAX_HOLD
    ) -> None:
        self._lines = [f"# {Story(tuple(specs), (), (), str(seed), max_hold).title}"]
        self._out = out
        self._told = _Telling()
        self._now = 0
        self._last = 0
        self._waiting: list[Happening] = []
        self._events: list[Event] = []

    def beside(self, arrivals: Iterable[Packet | Verdict]) -> Iterator[Packet | Verdict]:
        """The same, in order of time, each packet noted before the core receives it."""
        for arrival in arrivals:
            if isinstance(arrival, Packet):
                if arrival.arrived > self._now:
                    # All that was due up to the arrival before has happened.
                    self._settle(self._now)
                    self._now = arrival.arrived
                self._waiting.append((arrival.arrived, 0, arrival))
            yield arrival

    def verdict(self, verdict: Verdict) -> None:
        """Note what became of a packet."""
        self._waiting.append(_happening(verdict))

    def close(self) -> None:
        """Write the rest, and an empty line."""
        self._settle(max((at for at, _, _ in self._waiting), default=0))
        self._write()
        self._out("")

    def _settle(self, until: int) -> None:
        """Turn what has happened up to a time (ns) into events."""
        settled = [happening for happening in self._waiting if happening[0] <= until]
        if settled:
            self._waiting = [happening for happening in self._waiting if happening[0] > until]
            self._events += self._told.events(settled)
            if len(self._events) >= AT_ONCE:
                self._write()

    def _write(self) -> None:
        lines = [*self._lines, *flow_lines(self._told.flows.declared), *lines_of(self._events, since=self._last)]
        self._last = self._events[-1].at if self._events else self._last
        self._lines, self._events = [], []
        self._told.flows.declared.clear()
        if lines:
            self._out("\n".join(lines))


class _Telling:
    """Turns what happens to packets into the events of a story.

    Attributes:
        flows: the flows so far.
    """

    def __init__(self) -> None:
        self.flows = _Flows()
        self._dialogue = Dialogue()
        self._names = Names(_name, self._dialogue, flows=self.flows.number)
        self._namer = Namer()
        self._begin: int | None = None

    def events(self, happenings: list[Happening]) -> Iterator[Event]:
        """The events, in order; they are read to the end before the next ones.

        Args:
            happenings: none of them before an earlier call's.
        """
        # At equal times arrivals come first, then drops, then what is sent.
        for at, _, what in sorted(happenings, key=lambda happening: happening[:2]):
            if self._begin is None:
                self._begin = at
            yield self._event(at - self._begin, what)

    def _event(self, at: int, what: Packet | Verdict) -> Event:
        if isinstance(what, Packet):
            if (declared := self.flows.meet(what)) is not None:
                self._dialogue.declare(*declared)
            words = tuple(self._dialogue.describe(what.raw, self.flows.number(what)))
            return Event(
                at, "<", (Mention(_name(what) or "", words),), str(self._namer.packet(what)) if what.kind else "packet"
            )
        held = " + ".join(
            f"{format_duration(duration)} by {policy}" for policy, duration in what.packet.hold_times if duration
        )
        return self._names.event(what)._replace(at=at, comment=f"held {held}" if held else "")


def _happening(verdict: Verdict) -> Happening:
    return verdict.planned, ORDER.index("x" if verdict.fate == "dropped" else ">"), verdict


def _name(packet: Packet) -> str | None:
    """The name of a packet that arrived; None for one that a policy made."""
    return f"p{packet.id}" if packet.id else None


class _Flows:
    """Numbers flows in the order in which they are first seen.

    Attributes:
        declared: their numbers and ends; the caller may empty it.
    """

    def __init__(self) -> None:
        self._numbers: dict[tuple[str, Ends], int] = {}
        self._count = 0
        self.declared: list[tuple[int, str, str]] = []

    def meet(self, packet: Packet) -> tuple[int, str, str] | None:
        """The number and ends of the packet's flow, if it is a new one."""
        ends = ends_of(packet.raw)
        if self._key(packet, ends) in self._numbers:
            return None
        self._count = number = self._count + 1
        tcp = packet.tcp
        if (tcp is not None and SenderState().classify(tcp) == "synack") or spec_of(packet.raw).answers:
            ends = ends.reverse
        self._numbers[self._key(packet, ends)] = self._numbers[self._key(packet, ends.reverse)] = number
        declared = number, format_end(ends.source, ends.sport), format_end(ends.destination, ends.dport)
        self.declared.append(declared)
        return declared

    def number(self, packet: Packet) -> int:
        """The number of the packet's flow; 1 if no packet that was taken belongs to it."""
        return self._numbers.get(self._key(packet, ends_of(packet.raw)), 1)

    @staticmethod
    def _key(packet: Packet, ends: Ends) -> tuple[str, Ends]:
        return packet.flow.protocol, ends
