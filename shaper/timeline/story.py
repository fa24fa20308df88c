"""A story: packets that arrive, are sent and are dropped, and the text of it."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from shaper.core.core import MAX_HOLD
from shaper.errors import UsageError
from shaper.policy.base import Policy
from shaper.spec.load import expand, load, split_options, split_spec
from shaper.units import format_duration, s

ORDER = "<x>"
"""What can happen to a packet; at equal times in this order: it arrives, is dropped, is sent."""


class StoryError(UsageError):
    """A story can't be read; the message names the line and the reason."""


class Mention(NamedTuple):
    """A packet's name in an event, and the words after it."""

    name: str
    words: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.name}:{','.join(self.words)}" if self.words else self.name


class Event(NamedTuple):
    """Packets arrive, are dropped or are sent at the same time.

    Attributes:
        at: when, in ns from the story's beginning.
        kind: "<", "x" or ">".
        mentions: the packets, in order.
        comment: the text at the end of the line.
        line: its number in the text that it was read from, from 1; 0 if it was not read.
    """

    at: int
    kind: str
    mentions: tuple[Mention, ...]
    comment: str = ""
    line: int = 0


@dataclass(frozen=True)
class Story:
    """What happens to some packets on their way through a pipeline.

    Attributes:
        specs: the pipeline, each policy as a SPEC.
        events: in order of time.
        flows: the ends that the story declares: (number, source, destination).
        seed: decides all chance.
        max_hold: the longest that a packet is held, in ns.
        line: that of its title in the text that it was read from; 0 if it was not read.
    """

    specs: tuple[str, ...]
    events: tuple[Event, ...]
    flows: tuple[tuple[int, str, str], ...] = ()
    seed: str = "0"
    max_hold: int = MAX_HOLD
    line: int = 0

    @property
    def pipeline(self) -> list[Policy]:
        """The policies as prototypes.

        Raises:
            LoadError: a policy can't be loaded.
            NetemError: a SPEC `netem:"…"` can't be read.
        """
        return [load(spec) for spec in expand(self.specs)]

    @property
    def title(self) -> str:
        """The first line: "spread_burst gap=10ms"."""
        words = " | ".join(title_of(spec) for spec in self.specs)
        if self.seed != "0":
            words += f" seed={self.seed}"
        if self.max_hold != MAX_HOLD:
            words += f" max_hold={format_duration(self.max_hold)}"
        return words

    def __str__(self) -> str:
        lines = [f"# {self.title}"]
        return "\n".join([*lines, *flow_lines(self.flows), *lines_of(self.events)]) + "\n"


def title_of(spec: str) -> str:
    """A SPEC as in the first line of a story: its head and options, separated by spaces."""
    head, text = split_spec(spec)
    options = split_options(text, "", head)
    words = [f"{name}={value}" if name else value for name, value in options]
    return " ".join([head, *(shlex.quote(word) for word in words)])


def in_order(events: list[Event]) -> list[Event]:
    """Events by time; at equal times arrivals first, then drops, then what is sent."""
    return sorted(events, key=lambda event: (event.at, ORDER.index(event.kind)))


def flow_lines(flows: Iterable[tuple[int, str, str]]) -> list[str]:
    """The lines that declare these flows: (number, source, destination)."""
    return [f"flow {number}  {source} > {destination}" for number, source, destination in flows]


def lines_of(events: tuple[Event, ...] | list[Event], *, width: int = 80, since: int = 0) -> list[str]:
    """The events as lines of a story: those of one time and kind in one line, up to this width (columns).

    Args:
        events: in order.
        width: as far as one packet fits.
        since: when the event before them was, in ns.
    """
    lines: list[str] = []
    now = since
    gathered: list[tuple[int, str, list[str], str]] = []
    for event in events:
        for mention in event.mentions:
            last = gathered[-1] if gathered else None
            text = str(mention)
            fits = last is not None and len(" ".join([*last[2], text])) <= width - 9 - len(last[3])
            if last and fits and last[:2] == (event.at, event.kind) and last[3] == event.comment:
                last[2].append(text)
            else:
                gathered.append((event.at, event.kind, [text], event.comment))
    comments = []
    for at, kind, texts, comment in gathered:
        lines.append(f"{offset(at - now):<6} {kind} {' '.join(texts)}")
        comments.append(comment)
        now = at
    column = max((len(line) for line, comment in zip(lines, comments, strict=True) if comment), default=0)
    return [
        f"{line:<{min(column, 40)}}  {comment}" if comment else line
        for line, comment in zip(lines, comments, strict=True)
    ]


def offset(duration: int) -> str:
    """A duration as packetdrill writes it: "+0", "+.010", "+1.500"."""
    seconds, rest = divmod(duration, s)
    if not rest:
        return f"+{seconds}"
    digits = f"{rest:09d}"
    while digits.endswith("000"):
        digits = digits[:-3]
    return f"+{seconds or ''}.{digits}"
