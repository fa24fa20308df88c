"""The figure: blocked calls and held packets along time, one panel per condition.

The client's lanes are above, the server's below, the shaper between them. A packet leaves
its sender's side, is held for the length of its bar, and goes on to the other side; a
blocked call is a bar in its task's lane. Colours are those of Okabe and Ito, which colour-blind readers can tell
apart (https://jfly.uni-koeln.de/color/); an SVG turns dark where its viewer is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from shaper.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Side = Literal["client", "server"]
Kind = Literal["handshake", "ack", "data", "end", "other"]

COLOURS: dict[Kind, str] = {
    "handshake": "#0072B2", "ack": "#56B4E9", "data": "#E69F00", "end": "#CC79A7", "other": "#009E73",
}  # fmt: skip
NAMES: dict[Kind, str] = {
    "handshake": "SYN, SYN-ACK", "ack": "ACK", "data": "data", "end": "FIN, RST", "other": "other packet",
}  # fmt: skip
HIDDEN = "#D55E00"


@dataclass(frozen=True)
class Theme:
    """What differs between light and dark; the names are those of the roles that colours play."""

    ink: str
    muted: str
    paper: str
    lane: str
    blocked: str


LIGHT = Theme(ink="#1f2328", muted="#6e7781", paper="#fffffe", lane="#eef1f4", blocked="#c3c9d0")
DARK = Theme(ink="#e6edf3", muted="#9198a1", paper="#0d1117", lane="#1c2128", blocked="#484f58")


@dataclass(frozen=True)
class Bar:
    """A blocked call, in the lane of this name; times in ms since the figure's origin."""

    lane: str
    start: float
    end: float
    label: str
    hidden: bool = False


@dataclass(frozen=True)
class Arrow:
    """A packet: sent by one side, held, and delivered to the other unless it was dropped."""

    sender: Side
    sent: float
    delivered: float
    label: str
    kind: Kind
    dropped: bool = False
    steps: tuple[float, ...] = ()  # where one policy's hold ends and the next one's begins


@dataclass(frozen=True)
class Panel:
    """One condition, or one traced program.

    Attributes:
        lanes: the names of those on the client's side and on the server's; with none there
            and no packets, nothing is between them.
    """

    title: str
    bars: Sequence[Bar]
    arrows: Sequence[Arrow]
    note: str = ""
    lanes: tuple[Sequence[str], Sequence[str]] = (("client",), ("server",))


def check(file: Path) -> None:
    """Whether a figure can be drawn into this file, before the work for it is done.

    Raises:
        UsageError: it can't; the message says what to do.
    """
    if file.suffix not in (".svg", ".png", ".html"):
        raise UsageError(f"{file}: a figure is written as .svg, .png or .html")
    if find_spec("matplotlib") is None:
        raise UsageError("a figure takes matplotlib: pip install 'shaper[figure]'")


def write(panels: Sequence[Panel], file: Path, *, title: str, origin: str = "the client's connect") -> None:
    """Draw the panels into a file, one below the other on one time axis, which begins at the origin.

    A name that ends in -dark.png gives a dark picture; .svg and .html follow their viewer.

    Raises:
        OSError: the file can't be written.
    """
    from shaper.report.figure.draw import draw

    if file.suffix == ".png":
        draw(panels, title, origin, DARK if file.stem.endswith("-dark") else LIGHT).savefig(file, dpi=150)
        return
    svg = _svg(draw(panels, title, origin, LIGHT))
    if file.suffix == ".html":
        svg = PAGE.format(title=title, svg=svg[svg.index("<svg") :])
    file.write_text(svg, encoding="utf-8")


PAGE = """<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>svg {{ max-width: 100%; height: auto; }}</style>
{svg}
</html>
"""


def _svg(figure: Figure) -> str:
    """The figure as SVG that shows dark colours where its viewer asks for them."""
    import matplotlib as mpl

    text = StringIO()
    # Without the date and with fixed ids the same figure is the same file.
    with mpl.rc_context({"svg.fonttype": "path", "svg.hashsalt": "shaper"}):
        figure.savefig(text, format="svg", metadata={"Date": None})
    rules = "".join(
        f'[style*="{what}: {light}"] {{ {what}: {dark} !important; }}\n'
        for light, dark in zip(vars(LIGHT).values(), vars(DARK).values(), strict=True)
        for what in ("fill", "stroke")
    )
    style = f"<style>@media (prefers-color-scheme: dark) {{\n{rules}}}</style>\n"
    return text.getvalue().replace("<defs>", f"{style}<defs>", 1)
