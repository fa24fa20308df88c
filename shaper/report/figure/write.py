"""The figure as a file: SVG, which turns dark where its viewer is dark, PNG, or a page to explore."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

from shaper.errors import UsageError
from shaper.report.figure.model import DARK, LIGHT, Panel, Theme

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def check(file: Path) -> None:
    """Check that a figure can be drawn into this file, before a command does its work.

    Raises:
        UsageError: it can't; the message says what to do.
    """
    if file.suffix not in (".svg", ".png", ".html"):
        raise UsageError(f"{file}: a figure is written as .svg, .png or .html")
    for library in ("matplotlib", "bokeh") if file.suffix == ".html" else ("matplotlib",):
        if find_spec(library) is None:
            raise UsageError(f"a figure needs {library}: pip install 'nfq-shaper[figure]'")


def write(
    panels: Sequence[Panel], file: Path, *, title: str, origin: str = "the client's connect", where: str = ""
) -> None:
    """Draw the panels into a file, one below the other on one time axis.

    A name that ends in -dark.png gives a dark picture; .svg and .html follow their viewer. An .html is a page to
    explore; see `shaper.report.figure.explore`.

    Args:
        origin: what the time axis begins at.
        where: on which machine it was measured, in words.

    Raises:
        OSError: the file can't be written.
    """
    title = as_text(title)
    if file.suffix == ".html":
        from shaper.report.figure.explore import page

        file.write_text(page(panels, title, origin, where), encoding="utf-8", errors="replace")
        return
    from shaper.report.figure.draw import draw

    save(lambda theme: draw(panels, title, origin, theme, where), file, title)


def as_text(title: str) -> str:
    """A title that can be written: a command and its files may hold what is no text."""
    return title.encode(errors="replace").decode()


def save(drawn: Callable[[Theme], Figure], file: Path, title: str) -> None:
    """Write what this draws in a theme, as `write` does.

    Raises:
        OSError: the file can't be written.
    """
    if file.suffix == ".png":
        drawn(DARK if file.stem.endswith("-dark") else LIGHT).savefig(file, dpi=150)
        return
    svg = _svg(drawn(LIGHT))
    if file.suffix == ".html":
        svg = PAGE.format(title=escape(title), svg=svg[svg.index("<svg") :])
    file.write_text(svg, encoding="utf-8", errors="replace")


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
    """The figure as SVG, with dark colours for viewers that ask for them."""
    import matplotlib as mpl

    text = StringIO()
    # Without the date and with fixed ids, the same figure gives the same file.
    with mpl.rc_context({"svg.fonttype": "path", "svg.hashsalt": "shaper"}):
        figure.savefig(text, format="svg", metadata={"Date": None})
    rules = "".join(
        f'[style*="{what}: {light}"] {{ {what}: {dark} !important; }}\n'
        for light, dark in zip(vars(LIGHT).values(), vars(DARK).values(), strict=True)
        for what in ("fill", "stroke")
    )
    style = f"<style>@media (prefers-color-scheme: dark) {{\n{rules}}}</style>\n"
    return text.getvalue().replace("<defs>", f"{style}<defs>", 1)
