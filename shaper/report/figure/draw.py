"""Draws the panels of the figure with matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from math import copysign
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from shaper.report.figure.layout import (
    CHARACTER,
    FONT,
    GAP,
    MANY,
    SPACE,
    TALL,
    Lines,
    PanelLayout,
    fits,
    label_place,
    length,
    widest,
)
from shaper.report.figure.model import COLOURS, HIDDEN, NAMES, Arrow, Bar, Kind, Panel, Theme

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.transforms import Transform

WIDTH = 11.0
"""Of the figure, in inches; so is all that is not in rows."""
ROW = 0.22
"""The height of a row."""
MARGIN = 1.1
"""The least space to the left of the axes."""
STROKES = 2000
"""Up to this many packets, each is a line of its own in the file."""
HALF = 0.4
"""Half the height of a packet's bar, in rows."""
HATCH, DASHES = "///", (0, (3, 1.5))
"""What marks retransmissions: bars, and lines."""
CROSS: dict[str, Any] = {"marker": "x", "markersize": 6, "markeredgewidth": 1.6, "linewidth": 0, "zorder": 6}
"""What marks dropped packets."""


def draw(panels: Sequence[Panel], title: str, origin: str, theme: Theme, where: str = "") -> Figure:
    """The whole figure.

    Args:
        origin: what the time axis begins at.
        where: on which machine it was measured; stands in a corner.
    """
    starts = [bar.start for panel in panels for bar in panel.bars]
    starts += [arrow.sent for panel in panels for arrow in panel.arrows]
    ends = [bar.end for panel in panels for bar in panel.bars]
    ends += [arrow.delivered for panel in panels for arrow in panel.arrows]
    first, last = min(starts, default=0.0), max(ends, default=1.0)
    left, right = first - 0.02 * (last - first), last + 0.06 * (last - first)
    longest = max((len(name) for panel in panels for side in panel.lanes for name in side), default=0)
    margin = max(MARGIN, 0.4 + longest * CHARACTER)
    scale = (right - left) / (WIDTH - margin - 0.3)  # ms per inch
    layouts = [PanelLayout(panel, scale) for panel in panels]
    handles = _legend(panels, theme)
    # A long legend takes two lines.
    broad = sum(0.5 + CHARACTER * len(str(handle.get_label())) for handle in handles) > WIDTH - 0.4
    top, bottom = (0.95 if panels[0].title or panels[0].note else 0.75) + 0.2 * broad, 0.55
    size = sum(layout.height for layout in layouts) * ROW + top + bottom + 0.42 * (len(panels) - 1)
    with mpl.rc_context({"font.size": FONT, "font.family": "DejaVu Sans", "text.parse_math": False}):
        figure = Figure(figsize=(WIDTH, size), facecolor=theme.paper)
        y = size - top
        for layout in layouts:
            y -= layout.height * ROW
            box = margin / WIDTH, y / size, 1 - (margin + 0.3) / WIDTH, layout.height * ROW / size
            axes = figure.add_axes(box)
            axes.set_xlim(left, right)
            axes.set_ylim(0, layout.height)
            _panel(axes, layout, scale, theme)
            _axis(axes, theme, origin if layout is layouts[-1] else "")
            y -= 0.42
        figure.text(0.3 / WIDTH, 1 - 0.3 / size, title, color=theme.ink, fontsize=FONT + 4, weight="bold", va="center")
        figure.text(1 - 0.3 / WIDTH, 0.16 / size, where, color=theme.muted, va="center", ha="right")
        figure.legend(
            handles=handles, loc="upper left", bbox_to_anchor=(0.22 / WIDTH, 1 - 0.42 / size),
            ncols=-(-len(handles) // (1 + broad)), frameon=False, labelcolor=theme.ink, handlelength=1.2,
            handleheight=0.9, columnspacing=1.4,
        )  # fmt: skip
    return figure


def _panel(axes: Axes, layout: PanelLayout, scale: float, theme: Theme) -> None:
    panel, (upper, lower) = layout.panel, layout.edges
    axes.set_facecolor(theme.paper)
    names = {lane: y + TALL / 2 for lane, y in layout.lanes.items()}
    if upper > lower and not panel.is_empty:
        names[panel.path] = (upper + lower) / 2
    for y in layout.lanes.values():
        axes.axhspan(y, y + TALL, color=theme.lane, linewidth=0, zorder=0)
    for name, y in names.items():
        axes.text(-0.01, y, name, transform=_beside(axes), ha="right", va="center", color=theme.ink)
    # Bold characters are a fifth wider.
    room = int((axes.get_xlim()[1] - axes.get_xlim()[0]) / (CHARACTER * scale))
    title = _shortened(panel.title, room * 5 // 6)
    axes.text(0, 1.02, title, transform=axes.transAxes, color=theme.ink, weight="bold", va="bottom")
    note = _shortened(panel.note, room - len(title) * 6 // 5 - 3)
    if note:
        axes.text(1, 1.02, note, transform=axes.transAxes, color=theme.muted, va="bottom", ha="right")
    if not panel.arrows and upper > lower:
        why = "no call waited" if panel.is_empty else "packets not seen" if panel.note else "not shaped"
        middle = (upper + lower) / 2
        axes.text(0.5, middle, why, color=theme.muted, ha="center", va="center", transform=_beside(axes))
    for lane, y in layout.lanes.items():
        bars = [bar for bar in panel.bars if bar.lane == lane]
        for index, bar in enumerate(bars):
            free = bars[index + 1].start if index + 1 < len(bars) else axes.get_xlim()[1]
            free = free if len(bars) <= MANY else bar.end
            _bar(axes, bar, y, free, scale, theme)
    if layout.rows is None:
        _slanted_lines(axes, layout, theme)
        return
    for arrow, line, row in zip(panel.arrows, layout.lines, layout.rows, strict=True):
        _arrow(axes, arrow, line, upper - GAP - (row + 0.5), layout, scale, theme)


def _slanted_lines(axes: Axes, layout: PanelLayout, theme: Theme) -> None:
    """Many packets: slanted lines from end to end, so that round trips and the growing window show.

    The line of a dropped packet ends in the middle.
    """
    arrows, (upper, lower) = layout.panel.arrows, layout.edges
    middle = (upper + lower) / 2
    # A file with more lines would be large: then they are a picture in it.
    rasterized = len(arrows) > STROKES
    for again, some in groupby(sorted(arrows, key=lambda arrow: arrow.again), key=lambda arrow: arrow.again):
        lines, colours = [], []
        for arrow in some:
            origin, target = (upper, lower) if arrow.sender == "client" else (lower, upper)
            lines.append(((arrow.sent, origin), (arrow.delivered, middle if arrow.dropped else target)))
            colours.append(COLOURS[arrow.kind])
        drawn = LineCollection(lines, colors=colours, linewidths=0.8, alpha=0.7, zorder=1, rasterized=rasterized)
        if again:
            drawn.set(linestyles=[DASHES], linewidths=1.6, alpha=1, zorder=2)
        axes.add_collection(drawn, autolim=False)
    dropped = [arrow.delivered for arrow in arrows if arrow.dropped]
    axes.plot(dropped, [middle] * len(dropped), color=theme.ink, rasterized=rasterized, **CROSS)


def _bar(axes: Axes, bar: Bar, y: float, free: float, scale: float, theme: Theme) -> None:
    """A blocked call. Its label, or its name alone, stands in it, or after it if there is room, or is left out."""
    width, colour = bar.end - bar.start, HIDDEN if bar.hidden else COLOURS[bar.kind] if bar.kind else theme.blocked
    axes.broken_barh(
        [(bar.start, width)], (y + 0.14, TALL - 0.28), facecolor=colour, zorder=3,
        # The edge separates calls that follow each other. It would cover a bar that is hardly wider.
        **({"edgecolor": theme.lane, "linewidth": 1.5} if width > SPACE * scale else {"edgecolor": colour}),
    )  # fmt: skip
    middle = y + TALL / 2
    for text in (bar.label, bar.label.rsplit(" ", 2)[0]):
        if width >= length(text, scale):
            inside = _on(bar.kind) if bar.kind else "#ffffff" if bar.hidden else theme.ink
            axes.text((bar.start + bar.end) / 2, middle, text, color=inside, ha="center", va="center", zorder=4)
            return
    if free - bar.end >= length(bar.label, scale):
        axes.text(bar.end + SPACE * scale, middle, bar.label, color=theme.ink, ha="left", va="center", zorder=4)


def _arrow(axes: Axes, arrow: Arrow, line: Lines, y: float, layout: PanelLayout, scale: float, theme: Theme) -> None:
    """A packet: down or up to the shaper, its hold, and on to the other side."""
    colour, width = COLOURS[arrow.kind], arrow.delivered - arrow.sent
    downwards = arrow.sender == "client"
    origin, target = layout.edges if downwards else layout.edges[::-1]
    tip = target + copysign(0.16, origin - target)
    axes.broken_barh(
        [(arrow.sent, width)], (y - HALF, 2 * HALF), facecolor=colour, edgecolor=theme.paper, linewidth=0, zorder=3,
        hatch=HATCH if arrow.again else None,
    )  # fmt: skip
    for step in arrow.steps:
        axes.plot([step] * 2, [y - HALF, y + HALF], color=theme.paper, linewidth=1.2, zorder=4)
    _line(axes, (line.sent, origin), (arrow.sent, y), arrow, theme)
    if arrow.dropped:
        axes.plot([arrow.delivered], [y], color=theme.ink, **CROSS)
    else:
        _line(axes, (line.delivered, tip), (arrow.delivered, y), arrow, theme)
        axes.plot([line.delivered], [tip], marker="v" if downwards else "^", color=colour, markersize=4.5, zorder=5)
    for text in (f"{arrow.label} {width:.0f} ms", arrow.label):
        if fits(arrow, text, scale):
            # In the widest part, so that no line runs through it.
            axes.text(
                sum(widest(arrow)) / 2, y, text, color=_on(arrow.kind), ha="center", va="center", zorder=6,
                # Over the hatches, and the arrows of other packets.
                bbox={"facecolor": colour, "edgecolor": "none", "pad": 0.8},
            )  # fmt: skip
            return
    axes.text(
        label_place(arrow, line, scale), y, arrow.label, color=theme.ink, ha="left", va="center", zorder=6,
        bbox={"facecolor": theme.paper, "edgecolor": "none", "pad": 0.8},
    )  # fmt: skip


def _line(axes: Axes, end: tuple[float, float], bar: tuple[float, float], arrow: Arrow, theme: Theme) -> None:
    """A packet's line between a side and its bar; one that was moved beside the bar has a knee."""
    (x, edge), (time, y) = end, bar
    if arrow.sent <= x <= arrow.delivered:
        path = [(x, edge), (x, y + copysign(HALF, edge - y))]
    else:
        path = [(x, edge), (x, y), (time, y)]
    xs, ys = zip(*path, strict=True)
    # Over the bars of other packets, and apart from them.
    axes.plot(xs, ys, color=theme.paper, linewidth=2.6, zorder=3.5, solid_capstyle="butt")
    axes.plot(xs, ys, color=COLOURS[arrow.kind], linewidth=1.1, zorder=4, solid_capstyle="butt")


def _shortened(text: str, most: int) -> str:
    """At most this many characters of it."""
    return text if len(text) <= most else text[: max(0, most - 2)] + " …" if most > 9 else ""


def _on(kind: Kind) -> str:
    """The colour of text on a packet of this kind."""
    return "#ffffff" if kind in ("handshake", "other") else "#000000"


def _beside(axes: Axes) -> Transform:
    """x as a share of the axes' width, y in rows."""
    return axes.get_yaxis_transform()


def _axis(axes: Axes, theme: Theme, origin: str) -> None:
    axes.set_yticks([])
    axes.xaxis.grid(visible=True, color=theme.lane, linewidth=1, zorder=-1)
    axes.set_axisbelow(True)
    axes.tick_params(axis="x", colors=theme.muted, length=3, labelbottom=bool(origin))
    for name, spine in axes.spines.items():
        spine.set_visible(name == "bottom")
        spine.set_color(theme.muted)
    if origin:
        axes.set_xlabel(f"ms since {origin}", color=theme.ink)


def _legend(panels: Sequence[Panel], theme: Theme) -> list[Artist]:
    """An entry for everything that is drawn."""
    arrows = [arrow for panel in panels for arrow in panel.arrows]
    bars = [bar for panel in panels for bar in panel.bars]
    kinds = {arrow.kind for arrow in arrows} | {bar.kind for bar in bars}
    handles: list[Artist] = [Patch(facecolor=theme.blocked, label="blocked system call")]
    if any(bar.hidden for bar in bars):
        handles.append(Patch(facecolor=HIDDEN, label="blocked here, not under netem"))
    handles += [Patch(facecolor=COLOURS[kind], label=f"{NAMES[kind]} held") for kind in COLOURS if kind in kinds]
    if any(arrow.again for arrow in arrows):
        looks = Patch(facecolor=theme.muted, edgecolor=theme.paper, linewidth=0, hatch=HATCH, label="retransmission")
        handles.append(looks)
    if any(arrow.dropped for arrow in arrows):
        handles.append(Line2D([], [], color=theme.ink, **CROSS, label="dropped"))
    return handles
