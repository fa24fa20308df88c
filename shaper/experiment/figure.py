"""The figures of experiments: measures over what was varied, and effects with their intervals."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from shaper.experiment.effects import Measured
from shaper.experiment.profile import Profile
from shaper.experiment.sweep import Curve, Fit, SweepReport
from shaper.report.figure.layout import keep_apart
from shaper.report.figure.model import Theme
from shaper.report.figure.write import as_text, save

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

WIDTH, HEIGHT = 8.6, 3.6
"""Inches of a panel."""
LINE = 0.17
"""Inches of a line of text."""
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#882255", "#999933")
"""Okabe and Ito's, as in the figure of calls; two more of Tol's (https://personal.sron.nl/~pault/)."""
DASHES = (0, (4, 4))
"""Of a line that covers another one."""
SAME = 0.015
"""Lines that are nowhere further apart than this share of the axis cover each other."""


class End(NamedTuple):
    """Where a line ends, and what to write beside it."""

    x: float
    y: float
    label: str
    colour: str


def draw(report: SweepReport, file: Path) -> None:
    """Draw what a sweep has found: trials as dots, medians with their intervals, lines with their slopes.

    Raises:
        OSError: the file can't be written.
    """
    title = as_text(f"{report.title()} over {report.axis or ', '.join(report.factors)}")
    save(lambda theme: _sweep(report, title, theme), file, title)


def _sweep(report: SweepReport, title: str, theme: Theme) -> Figure:
    import matplotlib as mpl
    from matplotlib.figure import Figure

    units = list(dict.fromkeys(curve.unit for curve in report.times))
    with mpl.rc_context({"font.size": 8, "font.family": "DejaVu Sans", "text.parse_math": False}):
        figure = Figure(figsize=(WIDTH, HEIGHT * len(units) + 0.4), facecolor=theme.paper, layout=_layout())
        figure.suptitle(title, color=theme.ink, weight="bold", fontsize=11, x=0.02, ha="left")
        for place, unit in enumerate(units):
            axes = figure.add_subplot(len(units), 1, place + 1)
            style(axes, theme)
            curves = [curve for curve in report.times if curve.unit == unit]
            _panel(axes, report, curves, theme)
            axes.set_ylabel(unit or ", ".join(curve.name for curve in curves), color=theme.ink)
    return figure


def _layout() -> ConstrainedLayoutEngine:
    """All that belongs to the axes stays in the picture."""
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    return ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.08)


def style(axes: Axes, theme: Theme) -> None:
    """Give the axes the look of all figures."""
    axes.set_facecolor(theme.paper)
    axes.grid(visible=True, color=theme.lane, linewidth=1, zorder=-1)
    axes.set_axisbelow(True)
    axes.tick_params(colors=theme.muted, length=3)
    for name, spine in axes.spines.items():
        spine.set_visible(name in ("bottom", "left"))
        spine.set_color(theme.muted)


def _panel(axes: Axes, report: SweepReport, curves: list[Curve], theme: Theme) -> None:
    # Without a number to draw over, the conditions stand side by side.
    others = [name for name in report.factors if name != report.axis] if report.axis else []
    colours = iter(COLOURS * (1 + len(curves) * 100 // len(COLOURS)))
    drawn: list[dict[float, float]] = []
    ends = []
    most = max((point.high for curve in curves for point in curve.points), default=1.0)
    for curve in curves:
        groups = dict.fromkeys(tuple(point.levels[name] for name in others) for point in curve.points)
        for group in groups:
            colour = next(colours)
            points = [point for point in curve.points if tuple(point.levels[name] for name in others) == group]
            places = [_place(point.levels.get(report.axis or ""), at) for at, point in enumerate(points)]
            fit = next((fit for fit in curve.fits if tuple(fit.others.values()) == group), None)
            below = [max(0.0, point.median - point.low) for point in points]
            above = [max(0.0, point.high - point.median) for point in points]
            heights = dict(zip(places, (point.median for point in points), strict=True))
            covers = any(
                heights.keys() == other.keys() and all(abs(heights[x] - other[x]) <= SAME * most for x in other)
                for other in drawn
            )
            drawn.append(heights)
            axes.errorbar(
                places, list(heights.values()), yerr=[below, above], color=colour, marker="o",
                markersize=2 if covers else 4, capsize=2, linewidth=0 if fit else 1, elinewidth=1, zorder=3,
            )  # fmt: skip
            if fit is not None:
                span = [min(places), max(places)]
                on_line = [fit.line.at_zero + fit.line.slope * x for x in span]
                axes.plot(span, on_line, color=colour, linewidth=1.2, linestyle=DASHES if covers else "-", zorder=2)
            label = ", ".join([curve.name, *(f"{name}={level}" for name, level in zip(others, group, strict=True))])
            ends.append(End(places[-1], points[-1].median, f"{label}{_slope(fit)}", colour))
    if report.axis is None and curves:
        levels = [", ".join(map(str, point.levels.values())) for point in curves[0].points]
        axes.set_xticks(range(len(levels)), levels)
        axes.set_xlabel(", ".join(report.factors), color=theme.ink)
    else:
        unit = report.factors.get(report.axis or "", "")
        axes.set_xlabel(f"{report.axis} ({unit})", color=theme.ink)
    label_lines(axes, ends, theme)


def label_lines(axes: Axes, ends: Sequence[End], theme: Theme) -> None:
    """Write beside each line what it is, to the right of the axes."""
    low, high = axes.get_ylim()
    axes.set_ylim(low, high)
    # Of lines that end at the same height, the shortest has its label on top: so no line leads across another.
    ends = sorted(ends, key=lambda end: (end.y, -end.x))
    for end, y in zip(ends, keep_apart([end.y for end in ends], LINE / (0.8 * HEIGHT) * (high - low)), strict=True):
        axes.annotate(
            end.label, (end.x, end.y), (1.03, y), textcoords=axes.get_yaxis_transform(), annotation_clip=False,
            color=theme.ink, ha="left", va="center",
            arrowprops={"arrowstyle": "-", "color": end.colour, "linewidth": 1, "shrinkA": 1, "shrinkB": 3},
        )  # fmt: skip


def _place(level: object, at: int) -> float:
    """Where a level is on the axis; else the condition's number."""
    return level if isinstance(level, float) else float(at)


def _slope(fit: Fit | None) -> str:
    return "" if fit is None else f": slope {fit.line.slope:.3f} ± {fit.line.margin:.3f}"


def draw_profile(profile: Profile, file: Path) -> None:
    """Draw the effects of a causal profile, each with its interval.

    Raises:
        OSError: the file can't be written.
    """
    title = as_text(f"{profile.title()}: what late packets cost")
    save(lambda theme: _profile(profile, title, theme), file, title)


def _profile(profile: Profile, title: str, theme: Theme) -> Figure:
    import matplotlib as mpl
    from matplotlib.figure import Figure

    shown = profile.shown
    curved = [found for found in shown if not all(effect.is_simple for effect in found.effects)]
    rows = len(shown[0].effects) + 1
    with mpl.rc_context({"font.size": 8, "font.family": "DejaVu Sans", "text.parse_math": False}):
        heights = [*[0.7 + 0.22 * rows] * len(shown), *[HEIGHT * 0.8] * len(curved)]
        figure = Figure(figsize=(WIDTH, 0.8 + sum(heights)), facecolor=theme.paper, layout=_layout())
        grid = figure.add_gridspec(len(heights), 1, height_ratios=heights)
        figure.suptitle(title, color=theme.ink, weight="bold", fontsize=11, x=0.02, ha="left")
        figure.legend(
            handles=_signs(shown, theme), loc="outside lower left", ncols=2, frameon=False, labelcolor=theme.ink
        )
        first: Axes | None = None
        for place, found in enumerate(shown):
            axes = figure.add_subplot(grid[place], sharex=first)
            first = first or axes
            style(axes, theme)
            _effects(axes, found, theme)
            if place + 1 == len(shown) or shown[place + 1].unit != found.unit:
                axes.set_xlabel(f"{found.unit} per ms that the packets are late", color=theme.ink)
        for place, found in enumerate(curved, len(shown)):
            axes = figure.add_subplot(grid[place])
            style(axes, theme)
            _curves(axes, found, theme)
    return figure


def _effects(axes: Axes, found: Measured, theme: Theme) -> None:
    rows = [*((effect.factor, effect.slope) for effect in found.effects), ("all late at once", found.together)]
    for place, (name, slope) in enumerate(rows):
        margin = slope.margin if slope.margin < inf else 0.0
        colour = COLOURS[0] if place < len(found.effects) else theme.muted
        if place < len(found.effects) and not found.effects[place].is_simple:
            below = axes.get_yaxis_transform()
            axes.text(1, -place, "not linear: below", transform=below, ha="right", va="center", color=theme.muted)
        else:
            axes.errorbar([slope.value], [-place], xerr=[margin], color=colour, marker="o", markersize=4, capsize=3)
        axes.text(
            0, -place, f"{name}  ", transform=axes.get_yaxis_transform(), ha="right", va="center", color=theme.ink
        )
    for place, effect in enumerate(found.effects):
        if effect.predicted is not None and effect.is_simple:
            axes.plot([effect.predicted], [-place], marker="|", markersize=9, color=COLOURS[1], zorder=4)
    axes.axvline(0, color=theme.muted, linewidth=0.8)
    axes.set_yticks([])
    axes.set_ylim(0.4 - len(rows), 0.6)
    axes.set_title(found.name, loc="left", color=theme.ink, fontsize=8, weight="bold")


def _signs(shown: Sequence[Measured], theme: Theme) -> list[Artist]:
    """The legend: what dot and bar are."""
    from matplotlib.lines import Line2D

    signs: list[Artist] = [
        Line2D([], [], color=COLOURS[0], marker="o", markersize=4, label="measured, with 95 % interval")
    ]
    if any(effect.predicted is not None for found in shown for effect in found.effects):
        signs.append(
            Line2D([], [], color=COLOURS[1], marker="|", markersize=9, linewidth=0, label="predicted from one run")
        )
    return signs


def _curves(axes: Axes, found: Measured, theme: Theme) -> None:
    """What packets that are not linear cost, by how late they are."""
    curved = [effect for effect in found.effects if not effect.is_simple]
    ends = []
    for effect, colour in zip(curved, COLOURS * (1 + len(curved) // len(COLOURS)), strict=False):
        costs = [(0.0, 0.0, 0.0), *((late, cost.value, cost.margin) for late, cost in effect.curve)]
        axes.errorbar(
            [late for late, _, _ in costs],
            [cost for _, cost, _ in costs],
            yerr=[margin if margin < inf else 0.0 for _, _, margin in costs],
            color=colour, marker="o", markersize=3.5, capsize=2, linewidth=1, elinewidth=1,
        )  # fmt: skip
        ends.append(End(*costs[-1][:2], effect.factor, colour))
    axes.set_title(f"{found.name}: not linear", loc="left", color=theme.ink, fontsize=8, weight="bold")
    axes.set_xlabel("ms that the packets are late", color=theme.ink)
    axes.set_ylabel(f"{found.unit} longer".strip(), color=theme.ink)
    label_lines(axes, ends, theme)
