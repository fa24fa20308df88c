"""Tables for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

CONTROLS = {code: "\ufffd" for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\t\n"}
"""What would control a terminal, and what stands for it."""

Cell = str | int | float | None


def table(columns: Sequence[str], rows: Iterable[Sequence[Cell]], *, title: str | None = None) -> Table:
    """A table. Columns of numbers are right-justified, floats have three decimals, None is "-".

    Args:
        columns: their titles, with the unit of numbers: "p50 (ms)".
        rows: their cells; an empty row separates the rows before it from those after it.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    content = [list(row) for row in rows]
    drawn = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    # Two spaces between columns, nothing around the table.
    drawn.padding, drawn.pad_edge, drawn.show_edge = (0, 1, 0, 0), False, False
    for index, name in enumerate(columns):
        numeric = all(not isinstance(row[index], str) for row in content if row)
        drawn.add_column(name, justify="right" if numeric else "left", overflow="fold", no_wrap=numeric)
    for row in content:
        if not row:
            drawn.add_section()
            continue
        # As Text, in which rich looks for nothing.
        drawn.add_row(*(Text(spell(cell)) for cell in row))
    return drawn


def spell(cell: Cell) -> str:
    """The text of a cell."""
    if cell is None:
        return "-"
    return f"{cell:z.3f}" if isinstance(cell, float) else printable(str(cell))


def printable(text: str) -> str:
    """The text without characters that control a terminal."""
    return text.translate(CONTROLS)
