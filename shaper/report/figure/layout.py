"""Layout of the figure: where lanes, calls and packets are drawn, so that neither texts nor lines overlap."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from shaper.report.figure.model import Arrow, Panel

TALL = 1.25
"""Rows that a lane of calls takes."""
BETWEEN = 0.15
"""Rows between the lanes of one side."""
GAP = 0.7
"""Rows between the lanes and the packets."""
MANY = 14
"""If the packets take more rows than this, they are lines and not bars with labels."""
FONT = 8.0
"""The size of text, in points."""
CHARACTER = 0.62 * FONT / 72
"""A character's width in inches: layout comes before there is a renderer to ask."""
SPACE = 0.05
"""Inches between what must not touch."""
APART = 0.07
"""Inches between two packets' lines: as wide as the tip of an arrow."""
ASIDE = 0.2
"""Inches at most between a packet's line and its time."""


class PanelLayout:
    """Where everything in a panel is drawn, in rows from the bottom.

    Args:
        scale: ms per inch.

    Attributes:
        lines: where each packet's lines are.
        rows: the row of each packet's bar, counted from the top; None if there are too many for bars.
        height: of the whole panel.
        lanes: the lower edge of each lane, by its name.
        edges: the upper and the lower edge of the space between the lanes, the shaper's.
    """

    def __init__(self, panel: Panel, scale: float) -> None:
        self.panel = panel
        self.lines = apart(panel.arrows, scale)
        self.rows = stack(panel.arrows, self.lines, scale)
        # Where nothing happened, one lane says so.
        sides = ((), ()) if panel.is_empty else panel.lanes
        upper, lower = (max(0.0, len(side) * (TALL + BETWEEN) - BETWEEN) for side in sides)
        count = MANY if self.rows is None else 1 + max(self.rows, default=0)
        middle = TALL if panel.is_empty else 2 * GAP + count if sides[1] or panel.arrows else 0
        self.height = upper + middle + lower
        self.edges = lower + middle, lower
        self.lanes = {
            name: top - index * (TALL + BETWEEN) - TALL
            for side, top in zip(sides, (self.height, lower), strict=True)
            for index, name in enumerate(side)
        }


class Lines(NamedTuple):
    """The times, in ms, at which a packet's two lines are drawn: from its sender, and on to the other side."""

    sent: float
    delivered: float


def apart(arrows: Sequence[Arrow], scale: float) -> list[Lines]:
    """Moves lines of the same moment apart. They stay in the order of time, and as close to their times as can be.

    Args:
        scale: ms per inch.
    """
    ends = []
    for index, arrow in enumerate(arrows):
        ends.append((arrow.sent, index, False))
        # A packet that was hardly held is one line.
        if arrow.delivered - arrow.sent > APART * scale and not arrow.dropped:
            ends.append((arrow.delivered, index, True))
    ends.sort()
    times = [time for time, _, _ in ends]
    space = APART * scale
    moved = keep_apart(times, space)
    furthest = max((abs(new - time) for new, time in zip(moved, times, strict=True)), default=0.0)
    if furthest > ASIDE * scale:
        moved = keep_apart(times, space * ASIDE * scale / furthest)
    places = {end[1:]: at for end, at in zip(ends, moved, strict=True)}
    return [
        Lines(places[index, False], places.get((index, True), places[index, False])) for index in range(len(arrows))
    ]


def keep_apart(times: Sequence[float], space: float) -> list[float]:
    """Those in order, at least this far apart, and moved by as little as possible (least squares).

    This is isotonic regression by the pool-adjacent-violators algorithm: Barlow et al., Statistical Inference under
    Order Restrictions, 1972.
    """
    pools: list[tuple[float, int]] = []
    for index, time in enumerate(times):
        mean, count = time - index * space, 1
        while pools and pools[-1][0] > mean:
            before, members = pools.pop()
            mean, count = (mean * count + before * members) / (count + members), count + members
        pools.append((mean, count))
    levels = (mean for mean, count in pools for _ in range(count))
    return [level + index * space for index, level in enumerate(levels)]


def stack(arrows: Sequence[Arrow], lines: Sequence[Lines], scale: float) -> list[int] | None:
    """The row of each packet's bar, so that neither bars nor labels overlap; None if there are too many.

    Args:
        scale: ms per inch.
    """
    ends: list[float] = []
    rows = []
    for arrow, line in zip(arrows, lines, strict=True):
        row = next((row for row, free in enumerate(ends) if free <= min(arrow.sent, line.sent)), len(ends))
        if row >= MANY:
            return None
        # A label that doesn't fit into its bar stands after it.
        end = max(arrow.delivered, line.delivered)
        if not fits(arrow, arrow.label, scale):
            end = label_place(arrow, line, scale) + length(arrow.label, scale)
        ends[row : row + 1] = [end + SPACE * scale]
        rows.append(row)
    return rows


def fits(arrow: Arrow, text: str, scale: float) -> bool:
    """Whether the text can stand in the packet's bar."""
    since, until = widest(arrow)
    return until - since >= length(text, scale)


def label_place(arrow: Arrow, line: Lines, scale: float) -> float:
    """Where a label begins that stands after its packet's bar: past its line, and past the cross of a dropped one."""
    return max(arrow.delivered + (SPACE * scale if arrow.dropped else 0), line.delivered) + SPACE * scale


def widest(arrow: Arrow) -> tuple[float, float]:
    """The longest part of its bar without a step in it."""
    marks = [arrow.sent, *arrow.steps, arrow.delivered]
    return max(pairwise(marks), key=lambda part: part[1] - part[0])


def length(label: str, scale: float) -> float:
    """How many ms of the time axis a label takes; the scale is in ms per inch."""
    return (len(label) + 1) * CHARACTER * scale
