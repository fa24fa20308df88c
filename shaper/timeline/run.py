"""A story through the core in virtual time, and how what happens differs from it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from difflib import ndiff
from typing import NamedTuple

from shaper.core.core import Core
from shaper.core.failure import Failure
from shaper.core.verdict import Verdict
from shaper.core.virtual import play
from shaper.timeline.dialogue import Dialogue
from shaper.timeline.packet_spec import bytes_of, ends_of
from shaper.timeline.story import Event, Mention, Story, StoryError, in_order, lines_of, offset
from shaper.wire.checksum import put_right
from shaper.wire.packet import Packet


class Outcome(NamedTuple):
    """What happened, beside what the story expects.

    Attributes:
        actual: all events that happened, in order.
        expected: all events of the story, in order, in the same words.
        packets: those that arrived, in order.
        verdicts: the core's, in order.
        failures: of policies.
    """

    actual: tuple[Event, ...]
    expected: tuple[Event, ...]
    packets: tuple[Packet, ...]
    verdicts: tuple[Verdict, ...]
    failures: tuple[Failure, ...]


def run(story: Story) -> Outcome:
    """Run the packets of a story through its pipeline.

    Raises:
        StoryError: a packet arrives twice, or a word can't be read.
        LoadError: a policy can't be loaded.
    """
    dialogue = Dialogue(story.flows)
    arrivals: list[Event] = []
    departures: list[Event] = []
    packets: dict[str, Packet] = {}
    unknown: dict[str, bytes] = {}
    for event in in_order(list(story.events)):
        if event.kind == "<":
            arrivals.append(event)
            for mention in event.mentions:
                if mention.name in packets:
                    raise StoryError(
                        f"line {event.line}: packet {mention.name} arrives a second time; give it another name"
                    )
                raw = bytes_of(*dialogue.read(mention, event.line), number=len(packets) + 1)
                packets[mention.name] = Packet(raw, id=len(packets) + 1, arrived=event.at)
            continue
        departures.append(event)
        for mention in event.mentions:
            if mention.name not in packets and mention.name not in unknown:
                spec, ends = dialogue.read(mention, event.line, remember=False)
                unknown[mention.name] = bytes_of(spec, ends, number=0)
    core = Core(story.pipeline, seed=story.seed, max_hold=story.max_hold)
    verdicts = list(play(core, packets.values()))
    by_packet = {packet: name for name, packet in packets.items()}
    names = Names(by_packet.get, dialogue, list(unknown))
    actual = [names.event(verdict) for verdict in verdicts]
    new = {name: tuple(dialogue.describe(raw, remember=False)) for name, raw in unknown.items()}
    expected = [
        event._replace(mentions=tuple(Mention(m.name, new.get(m.name, tuple(sorted(m.words)))) for m in event.mentions))
        for event in departures
    ]
    bare = [event._replace(mentions=tuple(Mention(m.name) for m in event.mentions)) for event in arrivals]
    return Outcome(
        tuple(in_order(bare + actual)),
        tuple(in_order(bare + expected)),
        tuple(packets.values()),
        tuple(verdicts),
        tuple(core.failures),
    )


class Names:
    """The names of a story's packets when they leave the pipeline.

    Args:
        name: the name of a packet that arrived; None for one that a policy made.
        dialogue: has read or described all that arrived so far.
        unknown: names for packets that policies make, in order; beyond these, "new" and a number.
        flows: the number of a packet's flow; None for the flow that was mentioned with its ends.
    """

    def __init__(
        self,
        name: Callable[[Packet], str | None],
        dialogue: Dialogue,
        unknown: Iterable[str] = (),
        flows: Callable[[Packet], int | None] = lambda packet: None,
    ) -> None:
        self._name = name
        self._made: dict[bytes, str] = {}
        self._unknown = list(unknown)
        self._dialogue = dialogue
        self._flow = flows

    def event(self, verdict: Verdict) -> Event:
        """The event of a packet that was sent or dropped, at its planned time (ns)."""
        return Event(verdict.planned, "x" if verdict.fate == "dropped" else ">", (self.mention(verdict.packet),))

    def mention(self, packet: Packet) -> Mention:
        """The packet's name with the words for what was changed; for a new packet, with all its words."""
        root = packet.root
        name = self._name(root)
        if name is not None:
            return Mention(name, tuple(sorted(changes(root, packet, self._dialogue))))
        if root.copy_of is not None and packet.raw == root.copy_of.raw:
            name = self._name(root.copy_of)
        name = name or self._made.get(packet.raw)
        if name is not None:
            return Mention(name)
        name = self._made[packet.raw] = self._unknown.pop(0) if self._unknown else f"new{len(self._made) + 1}"
        return Mention(name, tuple(self._dialogue.describe(packet.raw, self._flow(packet), remember=False)))


def changes(before: Packet, after: Packet, dialogue: Dialogue) -> tuple[str, ...]:
    """The words for what policies changed in a packet, "badsum" for a checksum left wrong included."""
    if before.raw == after.raw:
        return ()
    words = dialogue.changes(before.raw, after.raw) if ends_of(before.raw) == ends_of(after.raw) else ["changed"]
    if put_right(before.raw) == before.raw and put_right(after.raw) != after.raw:
        words.append("badsum")
    return tuple(words)


def check(story: Story) -> str | None:
    """How what happens differs from the story, as a text for people; None if it doesn't.

    Raises:
        StoryError, LoadError: see `run`.
    """
    outcome = run(story)
    if outcome.failures:
        return f"# {story.title}\n{outcome.failures[0]}"
    expected, actual = _lines(outcome.expected), _lines(outcome.actual)
    if expected == actual:
        return None
    lines = [line for line in ndiff(expected, actual) if not line.startswith("?")]
    return "\n".join([f"# {story.title}", "  ('-' expected, '+' actual; times from the beginning)", *lines])


def _lines(events: Iterable[Event]) -> list[str]:
    """A line for each time and kind of event, with the time since the story's beginning."""
    lines: list[str] = []
    for event in events:
        text = lines_of([event._replace(at=0, comment="")], width=1 << 30)[0].removeprefix("+0").strip()
        when = offset(event.at)
        if lines and lines[-1].startswith(f"{when:<8} {text[0]} "):
            lines[-1] += text[1:]
        else:
            lines.append(f"{when:<8} {text}")
    return lines
