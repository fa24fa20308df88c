"""The notation: text -> stories."""

from __future__ import annotations

import inspect
import re
import shlex
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

from shaper.core.core import MAX_HOLD
from shaper.policy.base import Policy
from shaper.spec.load import FILE_MODULES
from shaper.timeline.story import Event, Mention, Story, StoryError
from shaper.units import parse_duration, s

EVENT = re.compile(r"\+(\d*\.?\d*)\s+([<>x])\s+(\S+(?: \S+)*)(?:\s{2,}(.*))?")
FLOW = re.compile(r"flow (\d+)\s+(\S+) > (\S+)")


def parse(text: str, *, first_line: int = 1) -> list[Story]:
    """The stories in a text; blank lines separate them.

    Args:
        text: the stories.
        first_line: the number of its first line, for errors.

    Raises:
        StoryError: a line can't be read.
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
            # A paragraph of remarks alone is no story.
            if any(not line.startswith("#") for line in paragraph):
                stories.append(_story(paragraph, begin))
            paragraph = []
    return stories


def stories_of(policy: type[Policy]) -> list[Story]:
    """The stories in a policy's docstring: its paragraphs that begin with "# ".

    The title names a policy from a file by the file's name, without folder and ending.

    Raises:
        StoryError: a line can't be read.
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
                f"line {number}: '{line.strip()}' is not an event: '+SECONDS', then '<', '>' or 'x', then packets"
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
    """An option as in a SPEC: a value with a comma or a space is in double quotes."""
    if "," not in option and " " not in option:
        return option
    name, equals, value = option.partition("=")
    return f'{name}="{value}"' if equals and name.isidentifier() else f'"{option}"'


def _mention(token: str, line: int) -> Mention:
    name, colon, words = token.partition(":")
    if not name or (colon and not words):
        raise StoryError(f"line {line}: '{token}' is not a packet: write NAME, or NAME:WORD,WORD")
    return Mention(name, tuple(words.split(",")) if words else ())
