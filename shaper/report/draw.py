"""Draws the panels of a figure with matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from shaper.report.figure import COLOURS, HIDDEN, NAMES, Arrow, Bar, Lane, Panel, Theme

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.transforms import Transform

WIDTH = 11.0
ROW = 0.22  # inches
GAP = 0.7  # rows between the lanes
TALL = 1.25  # rows of a lane of calls
FONT = 8.0
# A character's width in inches, for where there is no renderer yet to ask.
CHARACTER = 0.62 * FONT / 72
MARGIN = 1.1  # inches to the left
SPACE = 0.05  # inches between what must not touch
MANY = 14  # rows of packets that are still bars with labels


def draw(panels: Sequence[Panel], title: str, theme: Theme) -> Figure:
    """The whole figure."""
    ends = [bar.end for panel in panels for bar in panel.bars]
    ends += [arrow.delivered for panel in panels for arrow in panel.arrows]
    last = max(ends, default=1.0)
    left, right = -0.02 * last, 1.06 * last
    scale = (right - left) / (WIDTH - MARGIN - 0.3)  # ms per inch
    stacks = [stack(panel.arrows, scale) for panel in panels]
    heights = [_height(rows) for rows in stacks]
    top, bottom = 0.95, 0.55
    size = sum(heights) * ROW + top + bottom + 0.42 * (len(panels) - 1)
    with mpl.rc_context({"font.size": FONT, "font.family": "DejaVu Sans"}):
        figure = Figure(figsize=(WIDTH, size), facecolor=theme.paper)
        y = size - top
        for index, (panel, rows, height) in enumerate(zip(panels, stacks, heights, strict=True)):
            y -= height * ROW
            axes = figure.add_axes((MARGIN / WIDTH, y / size, 1 - (MARGIN + 0.3) / WIDTH, height * ROW / size))
            axes.set_xlim(left, right)
            axes.set_ylim(0, height)
            _panel(axes, panel, rows, scale, theme)
            _axis(axes, theme, labelled=index == len(panels) - 1)
            y -= 0.42
        figure.text(0.3 / WIDTH, 1 - 0.3 / size, title, color=theme.ink, fontsize=FONT + 4, weight="bold", va="center")
        _legend(figure, panels, theme, size)
    return figure


def stack(arrows: Sequence[Arrow], scale: float) -> list[int]:
    """The row of each packet's bar, such that neither bars nor labels meet; `scale` is ms per inch."""
    ends: list[float] = []
    rows = []
    for arrow in arrows:
        row = next((row for row, free in enumerate(ends) if free <= arrow.sent), len(ends))
        # A label that doesn't fit into its bar stands after it.
        marks, length = [arrow.sent, *arrow.steps, arrow.delivered], _length(arrow.label, scale)
        fits = max(until - since for since, until in pairwise(marks)) >= length
        end = arrow.delivered + (0 if fits else length)
        ends[row : row + 1] = [end + SPACE * scale]
        rows.append(row)
    return rows


def _length(label: str, scale: float) -> float:
    """How many ms of the axis a label takes."""
    return (len(label) + 1) * CHARACTER * scale


def _height(rows: Sequence[int]) -> float:
    count = max(rows, default=-1) + 1
    return 2 * TALL + 2 * GAP + max(1.0, min(count, MANY))


def _thickness(count: int) -> float:
    """Of a packet's bar, in rows; 0 where there are too many for bars."""
    return 1.0 if count <= MANY else 0.0


def _panel(axes: Axes, panel: Panel, rows: Sequence[int], scale: float, theme: Theme) -> None:
    height = _height(rows)
    lanes: dict[Lane, float] = {"client": height - TALL, "server": 0.0}
    axes.set_facecolor(theme.paper)
    names: dict[str, float] = {lane: y + TALL / 2 for lane, y in lanes.items()}
    names["shaper"] = height / 2
    for y in lanes.values():
        axes.axhspan(y, y + TALL, color=theme.lane, linewidth=0, zorder=0)
    for name, y in names.items():
        axes.text(-0.01, y, name, transform=_beside(axes), ha="right", va="center", color=theme.ink)
    axes.text(0, 1.02, panel.title, transform=axes.transAxes, color=theme.ink, weight="bold", va="bottom")
    if panel.note:
        axes.text(1, 1.02, panel.note, transform=axes.transAxes, color=theme.muted, va="bottom", ha="right")
    if not panel.arrows:
        why = "packets not seen" if panel.note else "not shaped"
        axes.text(0.5, 0.5, why, color=theme.muted, ha="center", va="center", transform=axes.transAxes)
    for lane, y in lanes.items():
        bars = [bar for bar in panel.bars if bar.lane == lane]
        for index, bar in enumerate(bars):
            free = bars[index + 1].start if index + 1 < len(bars) else axes.get_xlim()[1]
            free = free if len(bars) <= MANY else bar.end
            _bar(axes, bar, y, free, scale, theme)
    thickness = _thickness(max(rows, default=0) + 1)
    for arrow, row in zip(panel.arrows, rows, strict=True):
        middle = height - TALL - GAP - (row + 0.5) * thickness
        _arrow(axes, arrow, middle, thickness, lanes, scale, theme)


def _bar(axes: Axes, bar: Bar, y: float, free: float, scale: float, theme: Theme) -> None:
    """A blocked call; its label stands in it, or after it if there is room, or is left away."""
    axes.broken_barh(
        [(bar.start, bar.end - bar.start)], (y + 0.14, TALL - 0.28),
        facecolor=HIDDEN if bar.hidden else theme.blocked, edgecolor=theme.lane, linewidth=1.5, zorder=3,
    )  # fmt: skip
    length, inside = _length(bar.label, scale), "#ffffff" if bar.hidden else theme.ink
    middle = y + TALL / 2
    if bar.end - bar.start >= length:
        axes.text((bar.start + bar.end) / 2, middle, bar.label, color=inside, ha="center", va="center", zorder=4)
    elif free - bar.end >= length:
        axes.text(bar.end + SPACE * scale, middle, bar.label, color=theme.ink, ha="left", va="center", zorder=4)


def _arrow(
    axes: Axes, arrow: Arrow, y: float, thickness: float, lanes: dict[Lane, float], scale: float, theme: Theme
) -> None:
    """A packet: down or up to the shaper, its hold, and on to the other lane."""
    colour, width = COLOURS[arrow.kind], arrow.delivered - arrow.sent
    downwards = arrow.sender == "client"
    edges = (lanes["client"], lanes["server"] + TALL)
    origin, target = edges if downwards else edges[::-1]
    if not thickness:
        # Slanted from end to end, so that rounds and the growing window show.
        ends = [arrow.sent, arrow.delivered]
        axes.plot(ends, [origin, target], color=colour, linewidth=0.8, alpha=0.7, zorder=1)
        return
    axes.plot([arrow.sent] * 2, [origin, y], color=colour, linewidth=1.1, zorder=1, solid_capstyle="butt")
    if arrow.dropped:
        axes.plot([arrow.delivered], [y], marker="x", color=theme.ink, markersize=6, markeredgewidth=1.6, zorder=5)
    else:
        tip = target + (0.16 if downwards else -0.16)
        axes.plot([arrow.delivered] * 2, [y, tip], color=colour, linewidth=1.1, zorder=1, solid_capstyle="butt")
        axes.plot([arrow.delivered], [tip], marker="v" if downwards else "^", color=colour, markersize=4.5, zorder=2)
    axes.broken_barh(
        [(arrow.sent, width)], (y - 0.4 * thickness, 0.8 * thickness), facecolor=colour, linewidth=0, zorder=3
    )
    for step in arrow.steps:
        axes.plot([step] * 2, [y - 0.4 * thickness, y + 0.4 * thickness], color=theme.paper, linewidth=1.2, zorder=4)
    # In the widest part, so that no line runs through it.
    marks = [arrow.sent, *arrow.steps, arrow.delivered]
    since, until = max(pairwise(marks), key=lambda part: part[1] - part[0])
    for text in (f"{arrow.label} {width:.0f} ms", arrow.label):
        if until - since >= _length(text, scale):
            on = "#ffffff" if arrow.kind in ("handshake", "other") else "#000000"
            axes.text((since + until) / 2, y, text, color=on, ha="center", va="center", zorder=5)
            return
    axes.text(
        arrow.delivered + SPACE * scale, y, arrow.label, color=theme.ink, ha="left", va="center", zorder=5,
        # Over the arrows of other packets.
        bbox={"facecolor": theme.paper, "edgecolor": "none", "pad": 0.8},
    )  # fmt: skip


def _beside(axes: Axes) -> Transform:
    """x as a share of the axes' width, y in rows."""
    return axes.get_yaxis_transform()


def _axis(axes: Axes, theme: Theme, *, labelled: bool) -> None:
    axes.set_yticks([])
    axes.xaxis.grid(visible=True, color=theme.lane, linewidth=1, zorder=-1)
    axes.set_axisbelow(True)
    axes.tick_params(axis="x", colors=theme.muted, length=3, labelbottom=labelled)
    for name, spine in axes.spines.items():
        spine.set_visible(name == "bottom")
        spine.set_color(theme.muted)
    if labelled:
        axes.set_xlabel("ms since the client's connect", color=theme.ink)


def _legend(figure: Figure, panels: Sequence[Panel], theme: Theme, size: float) -> None:
    kinds = {arrow.kind for panel in panels for arrow in panel.arrows}
    handles: list[Artist] = [Patch(facecolor=theme.blocked, label="blocked system call")]
    if any(bar.hidden for panel in panels for bar in panel.bars):
        handles.append(Patch(facecolor=HIDDEN, label="blocked here, not under netem"))
    handles += [Patch(facecolor=COLOURS[kind], label=f"{NAMES[kind]}, held") for kind in COLOURS if kind in kinds]
    figure.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(0.22 / WIDTH, 1 - 0.42 / size), ncols=len(handles),
        frameon=False, labelcolor=theme.ink, handlelength=1.2, handleheight=0.9, columnspacing=1.4,
    )  # fmt: skip
