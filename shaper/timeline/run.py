"""A story through the core in virtual time, and what went otherwise than told."""

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
    """What happened, and what was told.

    Attributes:
        happened, told: all events in order, told in the same words.
        packets: those that arrived, in order.
        verdicts: the core's, in order.
        failures: of policies.
    """

    happened: tuple[Event, ...]
    told: tuple[Event, ...]
    packets: tuple[Packet, ...]
    verdicts: tuple[Verdict, ...]
    failures: tuple[Failure, ...]


def run(story: Story) -> Outcome:
    """Let the story's packets arrive, and see what becomes of them.

    Raises:
        StoryError: a packet that arrives twice, a word that there isn't.
        LoadError: the story's policy can't be had.
    """
    dialogue = Dialogue(story.flows)
    arrivals: list[Event] = []
    expected: list[Event] = []
    packets: dict[str, Packet] = {}
    unknown: dict[str, bytes] = {}
    for event in in_order(list(story.events)):
        if event.kind == "<":
            arrivals.append(event)
            for mention in event.mentions:
                if mention.name in packets:
                    raise StoryError(f"line {event.line}: packet {mention.name} arrives a second time; give it a name")
                raw = bytes_of(*dialogue.understand(mention, event.line), number=len(packets) + 1)
                packets[mention.name] = Packet(raw, id=len(packets) + 1, arrived=event.at)
            continue
        expected.append(event)
        for mention in event.mentions:
            if mention.name not in packets and mention.name not in unknown:
                look = dialogue.understand(mention, event.line, remember=False)
                unknown[mention.name] = bytes_of(*look, number=0)
    core = Core(story.pipeline, seed=story.seed, max_hold=story.max_hold)
    verdicts = list(play(core, packets.values()))
    names = Names(packets, dialogue, list(unknown))
    happened = [names.event(verdict) for verdict in verdicts]
    new = {name: tuple(dialogue.tell(raw, remember=False)) for name, raw in unknown.items()}
    told = [
        event._replace(mentions=tuple(Mention(m.name, new.get(m.name, tuple(sorted(m.words)))) for m in event.mentions))
        for event in expected
    ]
    bare = [event._replace(mentions=tuple(Mention(m.name) for m in event.mentions)) for event in arrivals]
    return Outcome(
        tuple(in_order(bare + happened)),
        tuple(in_order(bare + told)),
        tuple(packets.values()),
        tuple(verdicts),
        tuple(core.failures),
    )


class Names:
    """What the packets of a story are called when they leave."""

    def __init__(
        self,
        packets: dict[str, Packet],
        dialogue: Dialogue,
        unknown: Iterable[str] = (),
        flows: Callable[[Packet], int | None] = lambda packet: None,
    ) -> None:
        self._names = {packet: name for name, packet in packets.items()}
        self._copies = {packet.raw: name for name, packet in packets.items()}
        self._unknown = list(unknown)
        self._dialogue = dialogue
        self._flow = flows

    def event(self, verdict: Verdict) -> Event:
        return Event(verdict.planned, "x" if verdict.fate == "dropped" else ">", (self.mention(verdict.packet),))

    def mention(self, packet: Packet) -> Mention:
        """The name of the packet as it arrived, with what was changed; a new one's name with all that it is."""
        name = self._names.get(packet.root)
        if name is not None:
            return Mention(name, tuple(sorted(changes(packet.root, packet, self._dialogue))))
        if packet.raw in self._copies:
            return Mention(self._copies[packet.raw])
        name = self._unknown.pop(0) if self._unknown else f"new{len(self._copies)}"
        self._copies[packet.raw] = name
        self._names[packet.root] = name
        return Mention(name, tuple(self._dialogue.tell(packet.raw, self._flow(packet), remember=False)))


def changes(before: Packet, after: Packet, dialogue: Dialogue) -> tuple[str, ...]:
    """The words for what a policy did to a packet."""
    if before.raw == after.raw:
        return ()
    words = dialogue.changes(before.raw, after.raw) if ends_of(before.raw) == ends_of(after.raw) else ["changed"]
    if put_right(before.raw) == before.raw and put_right(after.raw) != after.raw:
        words.append("badsum")
    return tuple(words)


def check(story: Story) -> str | None:
    """What went otherwise than the story tells, as a text for people; None if nothing did.

    Raises:
        StoryError, LoadError: see `run`.
    """
    outcome = run(story)
    if outcome.failures:
        return f"# {story.title}\n{outcome.failures[0]}"
    told, happened = _lines(outcome.told), _lines(outcome.happened)
    if told == happened:
        return None
    lines = [line for line in ndiff(told, happened) if not line.startswith("?")]
    return "\n".join([f"# {story.title}", "  ('-' was told, '+' happened; times from the beginning)", *lines])


def _lines(events: Iterable[Event]) -> list[str]:
    """One line for each time and kind, with the time from the story's beginning."""
    lines: list[str] = []
    for event in events:
        text = lines_of([event._replace(at=0, comment="")], width=1 << 30)[0].removeprefix("+0").strip()
        when = offset(event.at)
        if lines and lines[-1].startswith(f"{when:<8} {text[0]} "):
            lines[-1] += text[1:]
        else:
            lines.append(f"{when:<8} {text}")
    return lines
