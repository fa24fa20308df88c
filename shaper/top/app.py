"""The screen of `shaper top`.

It reads the shaper a few times a second and shows what it read, which does nothing to any packet. Keys change the
shaper: an option, pause, release.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, ClassVar

from rich.text import Text
from textual import on
from textual.app import App, ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal
from textual.content import Content
from textual.events import DescendantFocus, Key, Resize
from textual.widgets import Input, Static

from shaper.errors import ShaperError
from shaper.report.table import printable
from shaper.top import text
from shaper.top.calls import Calls
from shaper.top.rows import Column, Row, Rows
from shaper.top.stage import about, is_default
from shaper.top.watch import FLOWS, Moment, Watch, Watched, key_of

INTERVAL = 0.5
"""Seconds between two looks at the shaper."""
SHORTEST = 0.1
"""The least that this may be."""
KEYS = "q quit   p pause   r release   s sort   Tab next table   Enter edit"
EDITING = "Enter set   Esc leave as it was"

WIDEST_FLOW = 50
"""Characters of a flow between two long IPv4 addresses."""


class Value(Input):
    """The value of an option while it is edited, in the place of its cell."""

    BINDINGS: ClassVar = [Binding("escape", "leave", "Leave it as it was")]

    def __init__(self, stage: str, option: str, value: str) -> None:
        super().__init__(value, compact=True)
        self.stage, self.option = stage, option

    def action_leave(self) -> None:
        """End editing and change nothing."""
        self.remove()


class Top(App[None]):
    """The view of one running shaper.

    Args:
        shaper: what is watched.
        name: what it is called.
        interval: seconds between two looks at it.
        clock: seconds of a clock that never goes back.
        today: seconds since 1970.
    """

    TITLE = "shaper top"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar = [
        Binding("q,ctrl+c", "quit", "Quit"),
        Binding("p", "pause", "Pause, or resume"),
        Binding("r", "release", "Release what is held"),
        Binding("s", "sort", "Sort the flows by something else"),
    ]
    CSS = """
    Screen { layers: base edit; }
    #title { height: 1; background: $success; color: auto; text-style: bold; }
    #title.paused, #title.stopping { background: $warning; }
    #title.silent { background: $error; }
    #figures { height: 3; }
    #pipeline { height: 1fr; min-height: 5; }
    #flows { height: 1fr; min-height: 5; }
    #stages { width: 11fr; }
    #options { width: 9fr; margin-left: 1; }
    Rows { border-top: solid $secondary; border-title-color: $foreground; height: 100%; }
    Rows:focus { border-top: heavy $accent; border-title-style: bold; }
    #stage { height: 1; text-wrap: nowrap; text-overflow: ellipsis; }
    #flow, #message { height: auto; min-height: 1; max-height: 2; }
    #stage, #flow, #message { padding: 0 1; }
    #stage, #flow { color: $text-muted; }
    #keys { height: 1; background: $panel; padding: 0 1; }
    Value { layer: edit; }
    """

    def __init__(
        self,
        shaper: Watched,
        name: str,
        *,
        interval: float = INTERVAL,
        clock: Callable[[], float] = time.monotonic,
        today: Callable[[], float] = time.time,
    ) -> None:
        super().__init__()
        self._shaper, self._name, self._interval = shaper, name, max(interval, SHORTEST)
        self._clock, self._today = clock, today
        self._watch = Watch()
        self._calls = Calls()
        self._is_looking = False
        self._order = text.ORDERS[0]
        self._fault = ""
        self._note = ""
        self._written: dict[str, Text] = {}

    def compose(self) -> ComposeResult:
        """The widgets, from top to bottom."""
        yield Static(id="title")
        yield Static(id="figures")
        with Horizontal(id="pipeline"):
            yield Rows(id="stages")
            yield Rows(id="options")
        yield Static(id="stage")
        yield Rows(id="flows")
        yield Static(id="flow")
        yield Static(id="message")
        yield Static(id="keys")

    async def on_mount(self) -> None:
        """Begin to look."""
        _entitle(self._stages, "Pipeline: packets so far")
        self._stages.focus()
        self.set_interval(self._interval, self._look_again)
        self._look_again()

    # Looking

    def _look_again(self) -> None:
        if not self._is_looking:
            self.run_worker(self.look())

    async def look(self) -> None:
        """Read the shaper once, and show it."""
        self._is_looking = True
        try:
            self._watch.see(await self._calls.make(self._read))
            self._fault = ""
        except ShaperError as error:
            self._fault = str(error)
        finally:
            self._is_looking = False
        self._draw()

    def _read(self) -> Moment:
        status, stages, flows = self._shaper.status(), self._shaper.pipeline(), self._shaper.flows(FLOWS)
        return Moment(self._clock(), status, stages, flows)

    # Changing

    def action_pause(self) -> None:
        """Let packets pass unshaped, or shape them again."""
        if (moment := self._watch.now) is not None:
            if moment.status["state"] == "paused":
                self._ask(self._shaper.resume, "resumed: packets are shaped again")
            else:
                self._ask(self._shaper.pause, "paused: packets pass unshaped; p resumes")

    def action_release(self) -> None:
        """Let all held packets go on now."""
        if (moment := self._watch.now) is not None:
            held = f"{moment.status['held']:,}"
            self._ask(self._shaper.release, f"released: {held} held packets went on at once, in their order")

    def action_sort(self) -> None:
        """Sort the flows by something else."""
        self._order = text.ORDERS[(text.ORDERS.index(self._order) + 1) % len(text.ORDERS)]
        self._draw()

    def _ask(self, call: Callable[[], object], done: str) -> None:
        """Ask the shaper for a change, then say that it is done, or why it is not."""

        self.run_worker(self._try(call, done))

    async def _try(self, call: Callable[[], object], done: str, editor: Value | None = None) -> None:
        try:
            await self._calls.make(call)
        except ShaperError as error:
            self._note = f"! {error}"
            self._draw()
            return
        if editor is not None:
            await editor.remove()
            self.screen.set_focus(self._options)
        self._note = done
        await self.look()

    @on(Rows.Chosen, "#stages")
    def _enter_options(self) -> None:
        self._options.focus()

    @on(Rows.Chosen, "#options")
    async def _edit(self) -> None:
        stage, option = self._stage_named(self._stages.selected), self._options.selected
        if stage is not None and isinstance(option, str):
            value = Value(stage["name"], option, stage["options"][option])
            await self.mount(value)
            self._place(value)
            value.focus()

    def _stage_named(self, name: object) -> Mapping[str, Any] | None:
        moment = self._watch.now
        return next((stage for stage in moment.stages if stage["name"] == name), None) if moment else None

    def _place(self, value: Value) -> None:
        """Put the editor over the cell of its option, or end it if that is not there any more."""
        place = self._options.place_of(value.option) if self._stages.selected == value.stage else None
        if place is None:
            value.remove()
        else:
            value.styles.offset, value.styles.width = place.offset, place.width

    @on(Input.Submitted)
    async def _set(self, event: Input.Submitted) -> None:
        value = event.input
        assert isinstance(value, Value)
        options = {value.option: value.value}

        done = f"{value.stage}: {value.option}={value.value} from now on; packets already held keep their time"
        self.run_worker(self._try(lambda: self._shaper.set(value.stage, options), done, value))

    # Drawing

    @property
    def _stages(self) -> Rows:
        return self.query_one("#stages", Rows)

    @property
    def _options(self) -> Rows:
        return self.query_one("#options", Rows)

    @property
    def _flows(self) -> Rows:
        return self.query_one("#flows", Rows)

    def on_resize(self, event: Resize) -> None:
        """Draw everything in its new size."""
        self.call_after_refresh(self._draw)

    def on_key(self, event: Key) -> None:
        """What was said about the last key is over with the next one."""
        self._note = ""

    @on(DescendantFocus)
    def _focused(self, event: DescendantFocus) -> None:
        if not isinstance(event.widget, Value):
            self.query(Value).remove()
        self._draw()

    @on(Rows.Moved)
    def _moved(self) -> None:
        self._draw()

    def _draw(self) -> None:
        """Show what is known now."""
        if not self.query("#keys"):
            return
        with self.batch_update():
            moment = self._watch.now
            if moment is not None:
                self._draw_pipeline(moment)
                self._draw_flows(moment)
            self._draw_head(moment)
            self._write("#message", Text(self._message(moment)))
            self._write("#keys", Text(EDITING if isinstance(self.focused, Value) else KEYS))

    def _write(self, where: str, content: Text) -> None:
        """Write a line, if it is another than before; only if its length is another, its height may be."""
        before = self._written.get(where)
        if content != before:
            self._written[where] = content
            self.query_one(where, Static).update(content, layout=before is None or len(content) != len(before))

    def _draw_head(self, moment: Moment | None) -> None:
        title = self.query_one("#title", Static)
        state = "no answer" if self._fault else moment.status["state"] if moment else "…"
        uptime = self._today() - datetime.fromisoformat(moment.status["started"]).timestamp() if moment else 0
        known = moment.status if moment else {"name": self._name}
        self._write("#title", Text(text.title(known, state, uptime, self.size.width)))
        title.set_classes("silent" if self._fault else state if moment else "")
        lines = text.figures(self._watch, self.size.width)
        self._write("#figures", Text("\n").join(lines))

    def _message(self, moment: Moment | None) -> str:
        """The line above the keys: of what there is to say, the most urgent."""
        if self._fault:
            return f"! {self._fault}; these are the last figures, q leaves"
        if self._note or moment is None:
            return self._note
        options, value = self._options, self.query(Value)
        stage = self._stage_named(self._stages.selected)
        if stage is not None and (options.has_focus or value) and isinstance(options.selected, str):
            return f"{options.selected}: {about(stage, options.selected)}"
        problems = moment.status["summary"].get("problems", ())
        return f"! {problems[-1]}" if problems else ""

    def _draw_pipeline(self, moment: Moment) -> None:
        stages, options = self._stages, self._options
        counts = [Column(title, 7, numeric=True) for title in ("held", "dropped", "made")]
        columns = [Column("stage", _room(stages, counts)), *counts]
        stages.show(columns, [Row(stage["name"], partial(text.stage_cells, stage)) for stage in moment.stages])
        stage = self._stage_named(stages.selected)
        self._write("#stage", Text(text.about_stage(stage) if stage else ""))
        if stage is not None:
            _entitle(options, f"Options of {stage['name']}")
            names = Column("option", max(map(len, stage["options"]), default=6))
            rows = [
                Row(name, partial(text.option_cells, name, value), not is_default(stage, name))
                for name, value in stage["options"].items()
            ]
            options.show([names, Column("value", _room(options, [names]))], rows)
        self.query_one("#pipeline").styles.max_height = max(len(stages.rows), len(options.rows)) + 2
        for value in self.query(Value):
            self._place(value)

    def _draw_flows(self, moment: Moment) -> None:
        flows, found = self._flows, text.sort(self._watch, self._order)
        counts = [
            Column(f"▼{title}" if order == self._order else title, 8, numeric=True)
            for order, title in (("held", "held"), ("rate", "pkt/s"), ("", "hold ms"), ("repeats", "repeats"))
        ]
        room = _room(flows, counts)
        columns = [Column("flow", room), *counts]
        if room > WIDEST_FLOW + 10:
            columns = [Column("flow", WIDEST_FLOW), *counts, Column("classes", room - WIDEST_FLOW - 2)]
        ends = columns[0].width
        flows.show(columns, [Row(key_of(flow), partial(text.flow_cells, flow, rate, ends)) for flow, rate in found])
        _entitle(flows, f"Flows: {len(found)}, sorted by {self._order}")
        flow = next((flow for flow, _ in found if key_of(flow) == flows.selected), None)
        line = text.about_flow(flow, ends, len(moment.status["queues"])) if flow else ""
        self._write("#flow", Text(line))


def _entitle(table: Rows, title: str) -> None:
    content = Content(f" {printable(title)} ")
    if table.border_title != content.markup:
        table.border_title = content.markup


def _room(table: Rows, others: Sequence[Column]) -> int:
    """The width of a column that takes what these others leave of a table."""
    return max(8, table.line_width - sum(2 + column.width for column in others) - 2)
