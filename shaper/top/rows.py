"""A table of `shaper top`, whose rows change several times a second while its reader goes through them.

Only the rows on the screen are written, as plain lines: Textual's own DataTable takes ten times as long.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import ClassVar, NamedTuple

from rich.segment import Segment
from rich.style import Style
from textual.binding import Binding
from textual.events import Click
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

BOLD = Style(bold=True)


class Column(NamedTuple):
    """A column: its title, its width in characters, and whether it has numbers."""

    title: str
    width: int
    numeric: bool = False

    def fit(self, text: str) -> str:
        """A cell's text in exactly this width."""
        text = text if len(text) <= self.width else f"{text[: self.width - 1]}…"
        return f"{text:>{self.width}}" if self.numeric else f"{text:{self.width}}"


class Row(NamedTuple):
    """A row: what tells it from the others, and what makes its cells.

    Attributes:
        stands_out: it is bold.
    """

    key: Hashable
    cells: Callable[[], Sequence[str]]
    stands_out: bool = False


class Rows(ScrollView, can_focus=True):
    """A table with a cursor. It stays on what it is on, wherever that moves, while the reader is in the table."""

    class Moved(Message):
        """The cursor is on another row."""

    class Chosen(Message):
        """Enter was pressed, or the row under the cursor clicked."""

        def __init__(self, rows: Rows) -> None:
            super().__init__()
            self.rows = rows

        @property
        def control(self) -> Rows:
            """The table."""
            return self.rows

    BINDINGS: ClassVar = [
        Binding("up,k", "move(-1)", "Up"),
        Binding("down,j", "move(1)", "Down"),
        Binding("pageup", "move_pages(-1)", "A page up"),
        Binding("pagedown", "move_pages(1)", "A page down"),
        Binding("home,g", "move(-1000000)", "First"),
        Binding("end,G", "move(1000000)", "Last"),
        Binding("left,h", "app.focus_previous", "Table before"),
        Binding("right,l", "app.focus_next", "Next table"),
        Binding("enter", "choose", "Choose"),
    ]
    COMPONENT_CLASSES: ClassVar = {"rows--titles", "rows--cursor"}
    DEFAULT_CSS = """
    Rows { overflow-x: hidden; scrollbar-gutter: stable; scrollbar-size-vertical: 1; background: $background; }
    Rows .rows--titles { background: $panel; color: $foreground; text-style: bold; }
    Rows .rows--cursor { background: $block-cursor-blurred-background; color: $block-cursor-blurred-foreground; }
    Rows:focus .rows--cursor {
        background: $block-cursor-background; color: $block-cursor-foreground; text-style: bold;
    }
    """

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self.rows: Sequence[Row] = ()
        self.columns: Sequence[Column] = ()
        self.cursor = 0
        self._styles_of_lines = (Style(), Style(), Style())

    def show(self, columns: Sequence[Column], rows: Sequence[Row]) -> None:
        """Show these rows."""
        at = self.selected
        self.columns, self.rows = columns, rows
        if self.has_focus and at is not None:
            self.cursor = next((index for index, row in enumerate(rows) if row.key == at), self.cursor)
        self.cursor = max(0, min(self.cursor, len(rows) - 1))
        self.virtual_size = Size(self.line_width, len(rows) + 1)
        self.refresh()

    @property
    def line_width(self) -> int:
        """Characters in a line, without the scroll bar."""
        return self.scrollable_content_region.width

    @property
    def selected(self) -> Hashable | None:
        """What tells the row under the cursor from the others; None if there is none."""
        return self.rows[self.cursor].key if self.cursor < len(self.rows) else None

    def place_of(self, key: Hashable) -> Region | None:
        """Where on the screen the last cell of the row with this key is; None if it isn't on it."""
        number = next((index for index, row in enumerate(self.rows) if row.key == key), -1)
        below = 1 + number - self.scroll_offset.y
        if number < 0 or not 1 <= below < self.size.height:
            return None
        before = sum(column.width + 2 for column in self.columns[:-1]) + 1
        return Region(self.content_region.x + before, self.content_region.y + below, self.columns[-1].width + 1, 1)

    def render_lines(self, crop: Region) -> list[Strip]:
        """The lines of a part of the screen."""
        self._styles_of_lines = (
            self.rich_style,
            self.get_component_rich_style("rows--titles"),
            self.get_component_rich_style("rows--cursor"),
        )
        return super().render_lines(crop)

    def render_line(self, y: int) -> Strip:
        """The titles, or the row in this line of the screen."""
        plain, titles, cursor = self._styles_of_lines
        number = y - 1 + self.scroll_offset.y
        if y == 0:
            return self._line([column.title for column in self.columns], titles)
        if number >= len(self.rows):
            return Strip([Segment(" " * self.line_width, plain)])
        row = self.rows[number]
        style = cursor if number == self.cursor else plain
        return self._line(row.cells(), style + BOLD if row.stands_out else style)

    def _line(self, cells: Sequence[str], style: Style) -> Strip:
        line = "".join(f" {column.fit(cell)} " for column, cell in zip(self.columns, cells, strict=False))
        return Strip([Segment(line, style)]).adjust_cell_length(self.line_width, style)

    def action_move(self, by: int) -> None:
        """Move the cursor."""
        self._move_to(self.cursor + by)

    def action_move_pages(self, by: int) -> None:
        """Move the cursor by what is on the screen."""
        self._move_to(self.cursor + by * max(1, self.size.height - 2))

    def action_choose(self) -> None:
        """Choose the row under the cursor."""
        if self.rows:
            self.post_message(self.Chosen(self))

    def on_click(self, event: Click) -> None:
        """Move the cursor to the row; a click where it is chooses."""
        at = event.get_content_offset(self)
        number = at.y - 1 + self.scroll_offset.y if at is not None and at.y > 0 else -1
        if number == self.cursor:
            self.action_choose()
        elif 0 <= number < len(self.rows):
            self._move_to(number)

    def _move_to(self, number: int) -> None:
        self.cursor = max(0, min(number, len(self.rows) - 1))
        shown = self.size.height - 1
        if not self.scroll_offset.y <= self.cursor < self.scroll_offset.y + shown:
            above = self.cursor if self.cursor < self.scroll_offset.y else self.cursor - shown + 1
            self.scroll_to(y=above, animate=False)
        self.refresh()
        self.post_message(self.Moved())
