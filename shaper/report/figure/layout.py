"""Layout of the figure: where lanes, calls and packets lie, such that no texts meet."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from shaper.report.figure.model import Arrow, Panel

TALL = 1.25  # rows of a lane of calls
BETWEEN = 0.15  # rows between lanes of one side
GAP = 0.7  # rows between the lanes and the packets
MANY = 14  # rows of packets that are still bars with labels
FONT = 8.0
# A character's width in inches, for where there is no renderer yet to ask.
CHARACTER = 0.62 * FONT / 72
SPACE = 0.05  # inches between what must not touch


class PanelLayout:
    """Where in a panel everything lies, in rows from below.

    Args:
        scale: ms per inch.

    Attributes:
        rows: of each packet's bar, counted from above; None if there are too many for bars.
        height: of the whole panel.
        lanes: the lower edge of each, by its name.
        edges: of the shaper's space, the upper and the lower one.
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
    """The row of each packet's bar, such that neither bars nor labels meet; None if they are too many."""
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
    """The longest part of its bar that no step divides."""
    marks = [arrow.sent, *arrow.steps, arrow.delivered]
    return max(pairwise(marks), key=lambda part: part[1] - part[0])


def length(label: str, scale: float) -> float:
    """How many ms of the axis a label takes."""
    return (len(label) + 1) * CHARACTER * scale
