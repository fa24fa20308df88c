"""The figure as a page to explore, drawn by Bokeh: zoom along time, and see the story of each packet and call.

One file has all of it, BokehJS included, and asks nobody for anything. Packets and calls are as in the static figure,
but each packet is at its exact time: whoever wants lines of one moment apart zooms in.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape
from importlib.resources import files
from string import Template
from typing import TYPE_CHECKING, Any

from bokeh.embed import json_item
from bokeh.models import (
    ColumnDataSource,
    FactorRange,
    HoverTool,
    PanTool,
    Range1d,
    ResetTool,
    TapTool,
    WheelZoomTool,
    ZoomInTool,
    ZoomOutTool,
)
from bokeh.plotting import figure, gridplot
from bokeh.resources import Resources

from shaper.report.figure.layout import widest
from shaper.report.figure.model import COLOURS, DARK, HIDDEN, LIGHT, NAMES, Arrow, Bar, Panel

if TYPE_CHECKING:
    from bokeh.models.renderers import DataRenderer, GlyphRenderer

ROW = 20
"""Pixels of a lane and of a row of packets."""
AROUND = 56
"""Pixels of a panel beside its rows."""
MANY = 40
"""If the packets take more rows than this, they are slanted lines."""
SLANTED = 18
"""Rows that slanted lines take."""
MOST = 1000
"""Packets of one panel that are drawn at most: the file stays below 2 MB."""
BLOCKED = "#98a2ad"
"""A blocked call: its text, black, is read on this, and this on light and on dark."""
NOBODY = "\N{ZERO WIDTH SPACE}"
"""Rows of packets have no names: each is as many of these as tells them apart."""
EDGE: dict[str, Any] = {"line_color": "#000000", "line_alpha": 0.4}
"""Tells bars apart that touch, and leaves those visible that are hardly wide."""
NEAR = 0.004
"""Packets less than this share of the axis apart don't share a row."""


def page(panels: Sequence[Panel], title: str, origin: str, where: str = "") -> str:
    """The whole page.

    Args:
        origin: what the time axis begins at.
        where: on which machine it was measured; stands below the figure.
    """
    times = [time for panel in panels for bar in panel.bars for time in (bar.start, bar.end)]
    times += [time for panel in panels for arrow in panel.arrows[:MOST] for time in (arrow.sent, arrow.delivered)]
    first, last = min(times, default=0.0), max(times, default=1.0)
    beside = 0.03 * (last - first or 1.0)
    shared = Range1d(start=first - beside, end=last + beside, bounds=(first - 2 * beside, last + 2 * beside))
    near = NEAR * (last - first)
    longest = max((len(lane) for panel in panels for side in panel.lanes for lane in side), default=0)
    drawn = [_Drawn(panel, f"panel {place}", shared, near, 30 + 7 * longest) for place, panel in enumerate(panels)]
    for each in drawn[:-1]:
        each.figure.xaxis.major_label_text_font_size = "0px"
    drawn[-1].figure.xaxis.axis_label = f"ms since {origin}"
    drawn[-1].figure.xaxis.axis_label_text_font_style = "normal"
    grid = gridplot(
        [[each.figure] for each in drawn], sizing_mode="stretch_width", toolbar_location="right",
        toolbar_options={"logo": None},
    )  # fmt: skip
    lanes = list(dict.fromkeys(lane for panel in panels for side in panel.lanes for lane in side))
    script = "\n".join(Resources(mode="inline", components=["bokeh"]).js_raw)
    about = {
        "panels": [each.about() for each in drawn],
        "colours": {"light": vars(LIGHT), "dark": vars(DARK)},
        "row": ROW,
        "around": AROUND,
    }
    return Template(files(__package__).joinpath("explore.html").read_text(encoding="utf-8")).substitute(
        title=escape(title),
        where=escape(where),
        legend="".join(_legend(panels)),
        lanes="".join(
            f'<label><input type="checkbox" checked data-lane="{escape(lane)}">{escape(lane)}</label>' for lane in lanes
        ),
        bokeh=script,
        item=_in_script(json_item(grid)),
        about=_in_script(about),
    )


def _in_script(content: Any) -> str:
    """As JSON that can stand in a script of a page."""
    return json.dumps(content).replace("<", "\\u003c")


def _legend(panels: Sequence[Panel]) -> list[str]:
    bars = [bar for panel in panels for bar in panel.bars]
    arrows = [arrow for panel in panels for arrow in panel.arrows]
    kinds = {arrow.kind for arrow in arrows} | {bar.kind for bar in bars}
    colours = [(BLOCKED, "blocked system call")]
    if any(bar.hidden for bar in bars):
        colours.append((HIDDEN, "blocked here, not under netem"))
    colours += [(COLOURS[kind], f"{NAMES[kind]} held") for kind in COLOURS if kind in kinds]
    entries = [f'<span><i style="background: {colour}"></i>{name}</span>' for colour, name in colours]
    if any(arrow.again for arrow in arrows):
        entries.append('<span><i class="again"></i>retransmission</span>')
    if any(arrow.dropped for arrow in arrows):
        entries.append("<span><b>\N{MULTIPLICATION SIGN}</b>dropped</span>")
    return entries


class _Drawn:
    """One panel as a figure of Bokeh.

    Args:
        name: of the figure; the page's script finds it and its sources by it.
        shared: the range of the time axis.
        near: packets less than this (ms) apart don't share a row.
        margin: pixels for the names of lanes.
    """

    def __init__(self, panel: Panel, name: str, shared: Range1d, near: float, margin: int) -> None:
        self.name = name
        self.arrows = panel.arrows[:MOST]
        rows = stack(self.arrows, near)
        count = 0 if not self.arrows else SLANTED if rows is None else max(rows) + 1
        # From the top: the client's lanes, the packets between two edges, the server's lanes.
        packets = [NOBODY * number for number in range(1, count + 3)] if count else []
        self.above, self.below = packets[0] if packets else "", packets[-1] if packets else ""
        self.middle = panel.path
        packets[(count + 1) // 2 : (count + 1) // 2 + 1] = [panel.path] if count else []
        self.rows = ["no call waited"] if panel.is_empty else [*panel.lanes[0], *packets, *panel.lanes[1]]
        note = panel.note
        if len(panel.arrows) > MOST:
            note = f"{note} (the first {MOST} of {len(panel.arrows)} packets)".strip()
        self.figure = figure(
            name=name, x_range=shared, y_range=FactorRange(factors=self.rows[::-1], name=f"{name} rows"),
            height=AROUND + ROW * len(self.rows), title="    ".join(filter(None, (panel.title, note))) or None,
            tools="", output_backend="canvas", min_border_left=margin,
        )  # fmt: skip
        self.figure.ygrid.visible = False
        self.figure.yaxis.major_tick_line_color = None
        self.figure.yaxis.axis_line_color = None
        self.figure.outline_line_color = None
        told = self._calls(panel.bars)
        if rows is not None:
            told += self._held(self.arrows, [packets[row + 1] for row in rows])
        elif self.arrows:
            told += self._slanted(self.arrows)
        hover = HoverTool(renderers=told, tooltips="<div class='story'>@story{safe}</div>", point_policy="follow_mouse")
        zoom = WheelZoomTool(dimensions="width", modifiers={"ctrl": True})
        pan = PanTool(dimensions="width")
        self.figure.add_tools(
            pan, zoom, ZoomInTool(dimensions="width"), ZoomOutTool(dimensions="width"), ResetTool(), hover,
            TapTool(renderers=told),
        )  # fmt: skip
        self.figure.toolbar.active_drag = pan
        self.figure.toolbar.active_scroll = zoom

    def about(self) -> dict[str, Any]:
        """What the page's script must know of it."""
        return {"name": self.name, "rows": self.rows}

    def _source(self, what: str, **columns: Sequence[Any]) -> ColumnDataSource:
        # More digits than those of a nanosecond make the file larger.
        short = {
            key: [round(value, 6) if isinstance(value, float) else value for value in column]
            for key, column in columns.items()
        }
        return ColumnDataSource(short, name=f"{self.name} {what}")

    def _calls(self, bars: Sequence[Bar]) -> list[DataRenderer]:
        source = self._source(
            "calls",
            lane=[bar.lane for bar in bars],
            left=[bar.start for bar in bars],
            right=[bar.end for bar in bars],
            **_labelled(
                [(bar.start, bar.end) for bar in bars],
                [bar.label.rsplit(" ", 2)[0] for bar in bars],
                [bar.label for bar in bars],
            ),
            colour=[HIDDEN if bar.hidden else COLOURS[bar.kind] if bar.kind else BLOCKED for bar in bars],
            ink=["#ffffff" if bar.hidden or bar.kind in ("handshake", "other") else "#000000" for bar in bars],
            story=[_story(bar.label, bar.story) for bar in bars],
        )
        drawn = self.figure.hbar(
            y="lane", left="left", right="right", height=0.8, fill_color="colour", **EDGE,
            nonselection_alpha=0.6, source=source,
        )  # fmt: skip
        self._labels(source, "lane")
        return [drawn, self._marks(source, "lane")]

    def _held(self, arrows: Sequence[Arrow], rows: Sequence[str]) -> list[DataRenderer]:
        colours = [COLOURS[arrow.kind] for arrow in arrows]
        sides = [(self.above, self.below) if arrow.sender == "client" else (self.below, self.above) for arrow in arrows]
        going = [
            (arrow, row, side[1]) for arrow, row, side in zip(arrows, rows, sides, strict=True) if not arrow.dropped
        ]
        self.figure.segment(
            x0=[arrow.sent for arrow in arrows], y0=[side[0] for side in sides],
            x1=[arrow.sent for arrow in arrows], y1=list(rows), line_color=colours,
        )  # fmt: skip
        ways = [COLOURS[arrow.kind] for arrow, _, _ in going]
        ends = [arrow.delivered for arrow, _, _ in going]
        targets = [target for _, _, target in going]
        self.figure.segment(x0=ends, y0=[row for _, row, _ in going], x1=ends, y1=targets, line_color=ways)
        tips = ["inverted_triangle" if arrow.sender == "client" else "triangle" for arrow, _, _ in going]
        self.figure.scatter(x=ends, y=targets, marker=tips, size=7, color=ways)
        source = self._source(
            "packets",
            row=rows,
            left=[arrow.sent for arrow in arrows],
            right=[arrow.delivered for arrow in arrows],
            **_labelled(
                [widest(arrow) for arrow in arrows],
                [arrow.label for arrow in arrows],
                [f"{arrow.label} {arrow.delivered - arrow.sent:.1f} ms" for arrow in arrows],
            ),
            colour=colours,
            hatch=["right_diagonal_line" if arrow.again else "blank" for arrow in arrows],
            ink=["#ffffff" if arrow.kind in ("handshake", "other") else "#000000" for arrow in arrows],
            story=[_story(arrow.label, arrow.story) for arrow in arrows],
        )
        drawn = self.figure.hbar(
            y="row", left="left", right="right", height=0.8, fill_color="colour", **EDGE,
            hatch_pattern="hatch", hatch_color="#ffffff", hatch_alpha=0.7, nonselection_alpha=0.6, source=source,
        )  # fmt: skip
        steps = [(step, row) for arrow, row in zip(arrows, rows, strict=True) for step in arrow.steps]
        self.figure.scatter(
            x=[step for step, _ in steps], y=[row for _, row in steps], marker="dash", angle=1.5708, size=ROW - 4,
            line_color="#ffffff", line_width=2,
        )  # fmt: skip
        self._crosses([(arrow.delivered, row) for arrow, row in zip(arrows, rows, strict=True) if arrow.dropped])
        self._labels(source, "row")
        return [drawn, self._marks(source, "row")]

    def _slanted(self, arrows: Sequence[Arrow]) -> list[DataRenderer]:
        sides = [(self.above, self.below) if arrow.sender == "client" else (self.below, self.above) for arrow in arrows]
        source = self._source(
            "packets",
            x0=[arrow.sent for arrow in arrows],
            y0=[side[0] for side in sides],
            x1=[arrow.delivered for arrow in arrows],
            y1=[self.middle if arrow.dropped else side[1] for arrow, side in zip(arrows, sides, strict=True)],
            colour=[COLOURS[arrow.kind] for arrow in arrows],
            dash=["dashed" if arrow.again else "solid" for arrow in arrows],
            width=[2.5 if arrow.again else 1.3 for arrow in arrows],
            story=[_story(arrow.label, arrow.story) for arrow in arrows],
        )
        drawn = self.figure.segment(
            x0="x0", y0="y0", x1="x1", y1="y1", line_color="colour", line_dash="dash", line_width="width",
            nonselection_alpha=0.2, source=source,
        )  # fmt: skip
        self._crosses([(arrow.delivered, self.middle) for arrow in arrows if arrow.dropped])
        return [drawn]

    def _marks(self, source: ColumnDataSource, y: str) -> GlyphRenderer[Any]:
        """Nothing to see, but the pointer finds it where a bar is too narrow for that."""
        return self.figure.scatter(x="right", y=y, size="mark", alpha=0, nonselection_alpha=0, source=source)

    def _crosses(self, places: Sequence[tuple[float, str]]) -> None:
        self.figure.scatter(
            x=[x for x, _ in places], y=[y for _, y in places], marker="x", size=10, line_width=2.5,
            name=f"{self.name} dropped",
        )  # fmt: skip

    def _labels(self, source: ColumnDataSource, y: str) -> None:
        self.figure.text(
            x="middle", y=y, text="shown", text_color="ink", text_align="center", text_baseline="middle",
            text_font_size="11px", source=source, nonselection_alpha=1,
        )  # fmt: skip


def stack(arrows: Sequence[Arrow], space: float) -> list[int] | None:
    """The row of each packet, so that those of a row are this far (ms) apart; None if there are too many."""
    ends: list[float] = []
    rows = []
    for arrow in arrows:
        row = next((row for row, free in enumerate(ends) if free <= arrow.sent), len(ends))
        if row >= MANY:
            return None
        ends[row : row + 1] = [arrow.delivered + space]
        rows.append(row)
    return rows


def _labelled(
    room: Sequence[tuple[float, float]], short: Sequence[str], long: Sequence[str]
) -> dict[str, Sequence[Any]]:
    """The columns of labels: where there is room for each, and what to write, by how much there is."""
    return {
        "since": [since for since, _ in room],
        "until": [until for _, until in room],
        "middle": [(since + until) / 2 for since, until in room],
        "short": short,
        "long": long,
        "shown": [""] * len(room),
        "mark": [0] * len(room),
    }


def _story(label: str, lines: Sequence[str]) -> str:
    return f"<b>{escape(label)}</b>" + "".join(f"<br>{escape(line)}" for line in lines)
