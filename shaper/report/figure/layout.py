"""Layout of the figure: where lanes, calls and packets are drawn, so that no texts overlap."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

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


class PanelLayout:
    """Where everything in a panel is drawn, in rows from the bottom.

    Args:
        scale: ms per inch.

    Attributes:
        rows: the row of each packet's bar, counted from the top; None if there are too many for bars.
        height: of the whole panel.
        lanes: the lower edge of each lane, by its name.
        edges: the upper and the lower edge of the space between the lanes, the shaper's.
    """

    def __init__(self, panel: Panel, scale: float) -> None:
        self.panel = panel
        self.rows = stack(panel.arrows, scale)
        count = MANY if self.rows is None else 1 + max(self.rows, default=0)
        middle = 2 * GAP + count if panel.lanes[1] or panel.arrows else 0
        upper, lower = (max(0.0, len(side) * (TALL + BETWEEN) - BETWEEN) for side in panel.lanes)
        self.height = upper + middle + lower
        self.edges = lower + middle, lower
        self.lanes = {
            name: top - index * (TALL + BETWEEN) - TALL
            for side, top in zip(panel.lanes, (self.height, lower), strict=True)
            for index, name in enumerate(side)
        }


def stack(arrows: Sequence[Arrow], scale: float) -> list[int] | None:
    """The row of each packet's bar, so that neither bars nor labels overlap; None if there are too many.

    Args:
        scale: ms per inch.
    """
    ends: list[float] = []
    rows = []
    for arrow in arrows:
        row = next((row for row, free in enumerate(ends) if free <= arrow.sent), len(ends))
        if row >= MANY:
            return None
        since, until = widest(arrow)
        # A label that doesn't fit into its bar stands after it.
        needed = length(arrow.label, scale)
        end = arrow.delivered + (0 if until - since >= needed else needed)
        ends[row : row + 1] = [end + SPACE * scale]
        rows.append(row)
    return rows


def widest(arrow: Arrow) -> tuple[float, float]:
    """The longest part of its bar without a step in it."""
    marks = [arrow.sent, *arrow.steps, arrow.delivered]
    return max(pairwise(marks), key=lambda part: part[1] - part[0])


def length(label: str, scale: float) -> float:
    """How many ms of the time axis a label takes; the scale is in ms per inch."""
    return (len(label) + 1) * CHARACTER * scale
