"""The screen of `shaper top`: what it shows of a shaper, and what its keys do."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from textual.pilot import Pilot

from docs.top import PICTURE, picture
from shaper.top.app import SHORTEST, Top
from tests.top.shaper import FakeShaper

Story = Callable[["View"], Awaitable[None]]
SIZES = [(80, 24), (120, 40)]


class View:
    """A screen with a shaper behind it that moves on when it is told to."""

    def __init__(self, shaper: FakeShaper, app: Top, pilot: Pilot[None]) -> None:
        self.shaper, self.app, self._pilot = shaper, app, pilot

    async def look(self, seconds: float = 0.5) -> None:
        """After this time, look again."""
        self.shaper.seconds += seconds
        await self.app.look()
        await self._pilot.pause()

    async def press(self, *keys: str) -> None:
        await self._pilot.press(*keys)
        await self._pilot.pause()
        await self.app.workers.wait_for_complete()
        await self._pilot.pause()

    async def type(self, text: str) -> None:
        await self.press(*({" ": "space"}.get(key, key) for key in text))

    @property
    def lines(self) -> list[str]:
        strips = self.app.screen._compositor.render_strips()
        return ["".join(segment.text for segment in strip) for strip in strips]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def line(self, beginning: str) -> str:
        return next(line for line in self.lines if line.startswith(beginning))


@asynccontextmanager
async def view(shaper: FakeShaper, size: tuple[int, int]) -> AsyncIterator[View]:
    app = Top(shaper, "web", interval=3600, clock=shaper.clock, today=shaper.today)
    async with app.run_test(size=size) as pilot:
        await app.workers.wait_for_complete()
        shown = View(shaper, app, pilot)
        await shown.look()
        yield shown


def run(story: Story, shaper: FakeShaper | None = None, size: tuple[int, int] = SIZES[0]) -> None:
    async def main() -> None:
        async with view(shaper or FakeShaper(), size) as shown:
            await story(shown)

    asyncio.run(main())


@pytest.mark.parametrize("size", SIZES)
def test_it_shows_the_shaper_its_pipeline_and_its_flows(size: tuple[int, int]) -> None:
    async def story(shown: View) -> None:
        lines = shown.lines
        assert [len(lines), len(lines[0])] == [size[1], size[0]]
        assert lines[0].startswith(" shaper web  SHAPING  input packets of lo, tcp, port 443 ")
        assert lines[0].endswith(" up 2 min 14 s ")
        assert "in   12,344/s" in lines[1]
        assert "held          " in lines[1]
        assert "bypassed        0" in lines[3]
        assert "late p99   144 µs" in lines[2]
        assert shown.line(" loss").split()[1:4] == ["0", "16,604", "0"]
        assert "time                 20ms" in shown.text
        first = shown.line(" 192.0.2.1:443 > 10.0.0.6:50005 tcp").split()
        assert first[4:8] == ["12", "200", "20.6", "149"]
        assert "reply · 26,900 packets · 26.9 MB · 134 dropped · data 26,898, fin 1, synack 1" in shown.text
        assert lines[-1].startswith(" q quit   p pause   r release   s sort   Tab next table   Enter edit")

    run(story, size=size)


def test_a_wide_screen_has_the_classes_of_all_flows() -> None:
    async def story(shown: View) -> None:
        assert "data 161,398, fin 1" in shown.line(" 192.0.2.1:443 > 10.0.0.1:50000 tcp")

    run(story, size=(120, 40))


def test_p_pauses_and_p_resumes() -> None:
    async def story(shown: View) -> None:
        await shown.press("p")
        assert "PAUSED" in shown.lines[0]
        assert "paused: packets pass unshaped; p resumes" in shown.text
        await shown.press("p")
        assert "SHAPING" in shown.lines[0]
        assert shown.shaper.asked == [("pause",), ("resume",)]

    run(story)


def test_r_releases_and_says_how_many() -> None:
    async def story(shown: View) -> None:
        held = shown.shaper.status()["held"]
        await shown.press("r")
        assert shown.shaper.asked == [("release",)]
        assert f"released: {held} held packets went on at once, in their order" in shown.text
        await shown.press("down")
        assert "released" not in shown.text

    run(story)


def test_s_sorts_flows_by_held_then_rate_then_repeats() -> None:
    async def story(shown: View) -> None:
        for order, first in (("held", "0.6"), ("rate", "0.1"), ("repeats", "0.1"), ("held", "0.6")):
            assert f"sorted by {order}" in shown.text
            rows = [line for line in shown.lines if " tcp" in line and " > " in line]
            assert rows[0].startswith(f" 192.0.2.1:443 > 10.0.{first}:")
            await shown.press("s")

    run(story)


def test_an_option_is_edited_in_its_place() -> None:
    async def story(shown: View) -> None:
        await shown.press("enter", "down", "enter")
        assert "jitter: duration: How far delays spread" in shown.text
        assert shown.lines[-1].startswith(" Enter set   Esc leave as it was ")
        await shown.type("7ms")
        assert "jitter               7ms" in shown.text
        await shown.press("enter")
        assert shown.shaper.asked == [("set", "delay", {"jitter": "7ms"})]
        assert "delay: jitter=7ms from now on" in shown.text
        assert shown.lines[-1].startswith(" q quit ")
        await shown.look()
        assert "jitter               7ms" in shown.text

    run(story)


def test_a_value_that_is_refused_stays_to_be_corrected() -> None:
    async def story(shown: View) -> None:
        await shown.press("tab", "enter")
        await shown.type("50")
        await shown.press("enter")
        assert "! delay: option time: '50' needs a unit of time, such as 50ms" in shown.text
        await shown.look()
        assert "time                 50 " in shown.text
        await shown.type("ms")
        await shown.press("enter")
        assert shown.shaper.asked[-1] == ("set", "delay", {"time": "50ms"})
        assert "delay: time=50ms from now on" in shown.text

    run(story)


def test_escape_leaves_an_option_as_it_was() -> None:
    async def story(shown: View) -> None:
        await shown.press("tab", "enter")
        await shown.type("50ms")
        await shown.press("escape")
        assert "time                 20ms" in shown.text
        assert shown.shaper.asked == []

    run(story)


def test_letters_typed_into_an_option_are_no_commands() -> None:
    async def story(shown: View) -> None:
        await shown.press("tab", "down", "down", "enter")
        await shown.type("pqrs")
        assert shown.shaper.asked == []
        assert "distribution         pqrs" in shown.text

    run(story)


def test_the_options_are_those_of_the_stage_under_the_cursor() -> None:
    async def story(shown: View) -> None:
        await shown.press("down")
        assert "Options of loss" in shown.text
        assert "loss:probability=1% · overlimits 3" in shown.text
        assert "probability" in shown.text

    run(story)


def test_the_cursor_stays_on_its_flow() -> None:
    async def story(shown: View) -> None:
        await shown.press("tab", "tab", "end")
        key = shown.app._flows.selected
        assert key == ("10.0.0.1:50000 > 192.0.2.1:443 tcp", 0)
        await shown.press("s")
        assert shown.app._flows.selected == key

    run(story)


def test_the_end_of_the_server_is_said_and_nothing_else_is_lost() -> None:
    async def story(shown: View) -> None:
        shown.shaper.gone = True
        await shown.look()
        assert "NO ANSWER" in shown.lines[0]
        assert "! shaper 'web' has ended; these are the last figures, q leaves" in " ".join(shown.text.split())
        assert "time                 20ms" in shown.text
        await shown.press("p", "r")
        assert "NO ANSWER" in shown.lines[0]
        shown.shaper.gone = False
        shown.shaper.pid += 1
        await shown.look()
        assert "SHAPING" in shown.lines[0]

    run(story)


def test_bypassed_packets_and_problems_are_said_in_words() -> None:
    async def story(shown: View) -> None:
        shown.shaper.bypassed = 12
        shown.shaper.problems = ["12 packets passed unshaped: they came faster than they could be taken"]
        await shown.look()
        assert "bypassed      12!" in shown.text
        assert "! 12 packets passed unshaped" in shown.text

    run(story)


def test_a_pipeline_that_is_replaced_ends_editing() -> None:
    async def story(shown: View) -> None:
        await shown.press("tab", "enter")
        shown.shaper.stages = FakeShaper(("stall:time=1s",)).stages
        await shown.look()
        assert "Options of stall" in shown.text
        assert not shown.app.query("Value")

    run(story)


def test_q_leaves_and_asks_for_nothing() -> None:
    async def story(shown: View) -> None:
        await shown.press("q")
        assert not shown.app.is_running
        assert shown.shaper.asked == []

    run(story)


def test_a_shaper_that_gives_no_answer_yet_is_named() -> None:
    shaper = FakeShaper()
    shaper.gone = True

    async def story(shown: View) -> None:
        assert shown.lines[0].startswith(" shaper web  NO ANSWER")

    run(story, shaper)


def test_many_flows_scroll() -> None:
    async def story(shown: View) -> None:
        assert "Flows: 100" in shown.text
        await shown.press("tab", "tab", "end")
        assert shown.app._flows.scroll_offset.y > 0
        await shown.look()
        assert shown.app._flows.place_of(shown.app._flows.selected) is not None

    run(story, FakeShaper(connections=50))


def test_it_looks_ten_times_a_second_at_most() -> None:
    shaper = FakeShaper()
    assert Top(shaper, "web", interval=0.001)._interval == SHORTEST


def test_the_picture_of_the_documents_shows_an_option_being_edited() -> None:
    drawn = asyncio.run(picture())
    for text in (drawn, PICTURE.read_text(encoding="utf-8")):
        assert "SHAPING" in text
        assert "8ms" in text
        assert "@font-face" not in text


def test_the_screen_may_change_its_size() -> None:
    async def story(shown: View) -> None:
        await shown._pilot.resize_terminal(120, 40)
        await shown.look()
        assert "classes" in shown.text
        await shown._pilot.resize_terminal(80, 24)
        await shown.look()
        assert "classes" not in shown.text
        assert max(map(len, shown.lines)) == 80

    run(story)
