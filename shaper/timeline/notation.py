"""The notation: text <-> stories."""

from __future__ import annotations

import inspect
import re
import shlex
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

from shaper.core import MAX_HOLD
from shaper.errors import UsageError
from shaper.load import FILE_MODULES, load, split_options, split_spec
from shaper.netem import expand
from shaper.policy import Policy
from shaper.units import format_duration, parse_duration, s

KINDS = {"<": "arrives", "x": "is dropped", ">": "is sent"}
"""What may happen to a packet; at equal times in this order."""

EVENT = re.compile(r"\+(\d*\.?\d*)\s+([<>x])\s+(\S+(?: \S+)*)(?:\s{2,}(.*))?")
FLOW = re.compile(r"flow (\d+)\s+(\S+) > (\S+)")


class StoryError(UsageError):
    """A story that can't be read; the message says which line and why."""


class Mention(NamedTuple):
    """A packet's name and the words said about it there."""

    name: str
    words: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.name}:{','.join(self.words)}" if self.words else self.name


class Event(NamedTuple):
    """Packets arrive, are dropped or are sent, together.

    Attributes:
        at: when, in ns from the story's beginning.
        kind: "<", "x" or ">".
        line: in the text that it was read from, from 1; 0 elsewhere.
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
        flows: the ends of flows, by number, where the story says them: (source, destination).
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
            LoadError: there is no such policy, or it has no such option.
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
        lines += [f"flow {number}  {source} > {destination}" for number, source, destination in self.flows]
        return "\n".join([*lines, *lines_of(self.events)]) + "\n"


def parse(text: str, *, first_line: int = 1) -> list[Story]:
    """The stories in a text, in which blank lines stand between them.

    Raises:
        StoryError: a line that can't be read.
    """
    stories: list[Story] = []
    paragraph: list[str] = []
    begin = first_line
    for number, line in enumerate([*text.splitlines(), ""], first_line):
        if line.strip():
            if not paragraph:
                begin = number
            paragraph.append(line)
        elif paragraph:
            # Remarks before the first story stand alone.
            if any(not line.startswith("#") for line in paragraph):
                stories.append(_story(paragraph, begin))
            paragraph = []
    return stories


def stories_of(policy: type[Policy]) -> list[Story]:
    """The stories in a policy's docstring: its paragraphs that begin with "# ".

    There a policy that came from a file goes by the file's name alone.

    Raises:
        StoryError: a line that can't be read.
    """
    paragraphs = re.split(r"\n\s*\n", inspect.cleandoc(policy.__doc__ or ""))
    stories = [story for text in paragraphs if text.startswith("# ") for story in parse(text)]
    file = Path(inspect.getfile(policy)) if policy.__module__.startswith(FILE_MODULES) else None
    if file is None:
        return stories
    return [replace(story, specs=tuple(_from_file(spec, file) for spec in story.specs)) for story in stories]


def _from_file(spec: str, file: Path) -> str:
    head, colon, options = spec.partition(":")
    return f"{file}{colon}{options}" if head == file.stem else spec


def _story(lines: list[str], begin: int) -> Story:
    if not lines[0].startswith("# "):
        raise StoryError(f"line {begin}: a story begins with '# ' and its policy, not with '{lines[0]}'")
    specs, seed, max_hold = _header(lines[0][2:], begin)
    events, flows, now = [], [], 0
    for number, line in enumerate(lines[1:], begin + 1):
        if line.startswith("#"):
            continue
        if flow := FLOW.fullmatch(line.strip()):
            flows.append((int(flow[1]), flow[2], flow[3]))
            continue
        match = EVENT.fullmatch(line.strip())
        if match is None or not any(character.isdigit() for character in match[1]):
            raise StoryError(
                f"line {number}: '{line.strip()}' is not '+SECONDS <, > or x, packets', such as '+.010 > a'"
            )
        offset = Decimal(match[1]) * s
        if offset != int(offset):
            raise StoryError(f"line {number}: +{match[1]} is not a whole number of nanoseconds")
        now += int(offset)
        mentions = tuple(_mention(token, number) for token in match[3].split())
        events.append(Event(now, match[2], mentions, match[4] or "", number))
    return Story(specs, tuple(events), tuple(flows), seed, max_hold, begin)


def _header(text: str, line: int) -> tuple[tuple[str, ...], str, int]:
    """The pipeline as SPECs, the seed and the longest hold."""
    try:
        words = shlex.split(text)
    except ValueError:
        raise StoryError(f"line {line}: a quote is not closed in '{text}'") from None
    stages: list[list[str]] = [[]]
    seed, max_hold = "0", MAX_HOLD
    for word in words:
        if word == "|":
            stages.append([])
        elif word.startswith("seed="):
            seed = word.removeprefix("seed=")
        elif word.startswith("max_hold="):
            max_hold = parse_duration(word.removeprefix("max_hold="))
        else:
            stages[-1].append(word)
    if not all(stages):
        raise StoryError(f"line {line}: '{text}' names no policy on one side of a '|'")
    return tuple(_spec(stage) for stage in stages), seed, max_hold


def _spec(words: list[str]) -> str:
    head, *options = words
    if not options:
        return head
    return f"{head}:{','.join(_quote(option) for option in options)}"


def _quote(option: str) -> str:
    """An option as a SPEC has it: a value with a comma stands in double quotes."""
    if "," not in option and " " not in option:
        return option
    name, equals, value = option.partition("=")
    return f'{name}="{value}"' if equals and name.isidentifier() else f'"{option}"'


def title_of(spec: str) -> str:
    """A SPEC as a story's first line has it: head and options with spaces between them."""
    head, text = split_spec(spec)
    options = split_options(text, "", head)
    words = [f"{name}={value}" if name else value for name, value in options]
    return " ".join([head, *(shlex.quote(word) for word in words)])


def _mention(token: str, line: int) -> Mention:
    name, colon, words = token.partition(":")
    if not name or (colon and not words):
        raise StoryError(f"line {line}: '{token}' is not a packet's name, or NAME:WORD,WORD")
    return Mention(name, tuple(words.split(",")) if words else ())


def in_order(events: list[Event]) -> list[Event]:
    """Events by time; at equal times arrivals first, then drops, then what is sent."""
    order = list(KINDS)
    return sorted(events, key=lambda event: (event.at, order.index(event.kind)))


def lines_of(events: tuple[Event, ...] | list[Event], *, width: int = 80) -> list[str]:
    """The events as lines of a story: those of one time and kind together, none wider than need be."""
    lines: list[str] = []
    now = 0
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
