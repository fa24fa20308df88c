"""A story as a picture for a terminal: arrivals above the time axis, departures below."""

from __future__ import annotations

from collections.abc import Callable

from shaper.timeline.run import run
from shaper.timeline.story import Event, Story
from shaper.units import ms, s, us

WIDTH = 68
"""Columns of the time axis; with the margin a picture stays within 80."""

MARGIN = 9
"""Columns of the lanes' names."""


def draw(story: Story) -> str:
    """What happens in the story, to scale: arrivals above the time axis, what is sent and dropped below.

        arrive   c
                 b
                 a
                 +--------------------------------+---------------------------------+
        sent     a                                b                                 c
                 0                                10                            20 ms

    Packets of one time are stacked, the first one next to the axis. At most 80 columns wide.

    Raises:
        StoryError, LoadError: see `run`.
    """
    events = run(story).actual
    end = max((event.at for event in events), default=0)
    longest = max((len(mention.name) for event in events for mention in event.mentions), default=1)
    columns = WIDTH - longest + 1

    def column(at: int) -> int:
        return at * (columns - 1) // end if end else 0

    ticks, unit, factor = _ticks(end)
    line = ["-"] * columns if end else ["-"]
    for tick in ticks:
        line[column(tick)] = "+"
    lines = _lane("arrive", _stacks(events, "<", column), upwards=True)
    lines.append(" " * MARGIN + "".join(line))
    lines += _lane("sent", _stacks(events, ">", column), upwards=False)
    lines += _lane("dropped", _stacks(events, "x", column), upwards=False)
    labels = [(column(tick), f"{tick / factor:g}") for tick in ticks]
    labels[-1] = (labels[-1][0], f"{labels[-1][1]} {unit}")
    lines.append(" " * MARGIN + _place(labels))
    return "\n".join(lines)


def _stacks(events: tuple[Event, ...], kind: str, column: Callable[[int], int]) -> list[tuple[int, list[str]]]:
    """Columns with the names of the packets in them; names that would overlap share a column."""
    stacks: list[tuple[int, list[str]]] = []
    for event in events:
        if event.kind != kind:
            continue
        names = [mention.name for mention in event.mentions]
        at = column(event.at)
        if stacks and at <= stacks[-1][0] + max(len(name) for name in stacks[-1][1]):
            stacks[-1][1].extend(names)
        else:
            stacks.append((at, names))
    return stacks


def _lane(title: str, stacks: list[tuple[int, list[str]]], *, upwards: bool) -> list[str]:
    height = max((len(names) for _, names in stacks), default=0)
    rows = [_place([(at, names[row]) for at, names in stacks if row < len(names)]) for row in range(height)]
    if upwards:
        rows.reverse()
    return [f"{title if not index else '':<{MARGIN}}{row}" for index, row in enumerate(rows)]


def _place(texts: list[tuple[int, str]]) -> str:
    """A line with texts at their columns; one that would run beyond the width moves to the left."""
    line = ""
    for at, text in texts:
        at = min(at, WIDTH + 2 - len(text))
        if at >= len(line):
            line = line.ljust(at) + text
    return line


def _ticks(end: int) -> tuple[list[int], str, int]:
    """Round times on the axis (ns), at most seven; their unit, and how many ns it has."""
    unit, factor = next(((name, size) for name, size in (("s", s), ("ms", ms), ("us", us)) if end >= size), ("ns", 1))
    if not end:
        return [0], "ms", ms
    step = 1
    while end // step > 6:
        digit = int(str(step)[0])
        step = step * 2 if digit != 2 else step * 5 // 2
    return list(range(0, end + 1, step)), unit, factor
