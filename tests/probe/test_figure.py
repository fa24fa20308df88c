"""The figure and the ladder: what they show, and that no texts overlap."""

from dataclasses import replace
from itertools import combinations, pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest
from matplotlib.colors import to_hex
from matplotlib.text import Text

from shaper.errors import UsageError
from shaper.probe.explain.blockings import blockings
from shaper.probe.panel import panel
from shaper.report.arrows import arrows
from shaper.report.figure import write
from shaper.report.figure.draw import draw
from shaper.report.figure.layout import APART, MANY, apart, keep_apart
from shaper.report.figure.model import DARK, LIGHT, Arrow, Bar, Panel, Theme
from shaper.report.ladder import ladder
from shaper.units import ms
from tests.probe.stories import Story, netcat, request, spread

Box = tuple[float, float, float, float]


def of(story: Story, title: str = "a condition") -> Panel:
    run = story.run()
    return panel(title, run, blockings(run))


STORIES = [of(netcat(), "delay"), of(spread(), "spread"), of(netcat(2), "short"), of(request(), "request")]


def texts(panels: list[Panel], theme: Theme = LIGHT) -> list[tuple[str, Box]]:
    """Every text of the figure with its box, in pixels."""
    drawn = draw(panels, "title", "then", theme)
    drawn.draw_without_rendering()
    left, right = drawn.axes[0].get_xlim()
    found = [text for text in drawn.findobj(Text) if isinstance(text, Text) and text.get_text() and text.get_visible()]
    ticks = {text for axes in drawn.axes for text in axes.get_xticklabels()}
    return [
        (text.get_text(), text.get_window_extent().extents)
        for text in found
        # The axis makes texts beyond its ends, but does not draw them.
        if text not in ticks or left <= text.get_position()[0] <= right
    ]


def overlapping(texts: list[tuple[str, Box]]) -> list[tuple[str, str]]:
    return [
        (one, other)
        for (one, (left, bottom, right, top)), (other, (west, south, east, north)) in combinations(texts, 2)
        if not (right <= west or east <= left or top <= south or north <= bottom)
    ]


@pytest.mark.parametrize("panels", [[story] for story in STORIES] + [STORIES])
def test_no_two_texts_overlap(panels: list[Panel]) -> None:
    assert not overlapping(texts(panels))


def test_it_names_calls_packets_and_holds() -> None:
    shown = {text for text, _ in texts([STORIES[1]])}
    assert {"accept4 300.2 ms", "pselect6 200.0 ms", "poll 99.7 ms", "poll 400.0 ms"} <= shown
    assert {"SYN 100 ms", "SYN-ACK 100 ms", "data 6 B 200 ms", "FIN 299 ms", "client", "server", "shaper"} <= shown


def test_packets_are_drawn_from_their_sender() -> None:
    assert [arrow.sender for arrow in STORIES[0].arrows] == ["client", "server", "client", "client", "client", "server"]
    assert [arrow.label for arrow in STORIES[0].arrows] == ["SYN", "SYN-ACK", "ACK", "data 6 B", "FIN", "FIN"]


def test_lines_of_one_moment_are_drawn_apart() -> None:
    lines = apart(STORIES[0].arrows, 100)
    places = sorted({place for line in lines for place in line})
    assert len(places) == 12
    assert min(after - before for before, after in pairwise(places)) > 0.9 * APART * 100
    # Close to their times: a fifth of an inch.
    assert all(abs(line.sent - arrow.sent) < 21 for line, arrow in zip(lines, STORIES[0].arrows, strict=True))


def test_a_packet_that_was_not_held_is_one_line() -> None:
    (line,) = apart([Arrow("client", 5, 5.1, "SYN", "handshake")], 100)
    assert line.sent == line.delivered == 5


def test_times_are_spread_by_as_little_as_can_be() -> None:
    assert keep_apart([], 1) == []
    assert keep_apart([0, 5, 9], 2) == [0, 5, 9]
    assert keep_apart([0, 5, 5, 9], 2) == [0, 4, 6, 9]
    assert keep_apart([3, 3, 3, 4], 1) == pytest.approx([1.75, 2.75, 3.75, 4.75])


@pytest.mark.parametrize("count", [3, 3 * MANY])
def test_losses_and_retransmissions_are_marked_in_both_styles(count: int) -> None:
    plain = Arrow("client", 0, 100, "data", "data")
    lost = [replace(plain, dropped=True)]
    again = [replace(plain, sent=200, delivered=300, again=True)]

    drawn = draw([Panel("", [], [*[plain] * count, *lost, *again])], "title", "then", LIGHT)
    assert {"dropped", "retransmission"} <= {text.get_text() for text in drawn.legends[0].get_texts()}
    assert len([line for line in drawn.axes[0].get_lines() if line.get_marker() == "x"]) == 1


def test_retransmissions_are_found_in_the_journal() -> None:
    story = netcat()
    first, second = story.records[0], story.records[1]
    copy = first._replace(id=99, arrived=first.arrived + 50 * ms, begin=first.begin + 50 * ms)
    assert [arrow.again for arrow in arrows([first, second, copy], 0)] == [False, True, False]


def test_where_nothing_happened_no_lane_is_drawn() -> None:
    shown = {text for text, _ in texts([Panel("none", [], [])])}
    assert "no call waited" in shown
    assert not {"client", "server", "shaper"} & shown


def test_what_is_too_long_is_shortened() -> None:
    long = replace(STORIES[0], title="a condition of many words", note="delay:20ms | " * 20)
    shown = texts([long])
    assert not overlapping(shown)
    assert any(text.endswith(" …") for text, _ in shown)


@pytest.mark.parametrize("name", ["x.svg", "x.html", "x.png", "x-dark.png"])
def test_files(name: str, tmp_path: Path) -> None:
    file = tmp_path / name
    write.check(file)
    write.write(STORIES, file, title="four stories")
    assert file.stat().st_size > 10_000
    if name == "x.svg":
        svg = file.read_text()
        ElementTree.fromstring(svg)
        assert "prefers-color-scheme: dark" in svg
        for light in vars(LIGHT).values():
            assert f": {light}" in svg  # what the dark style replaces


def test_dark_is_dark() -> None:
    assert to_hex(draw(STORIES[:1], "title", "then", DARK).get_facecolor()) == DARK.paper


def test_another_suffix_is_refused() -> None:
    with pytest.raises(UsageError, match=r"x\.gif: a figure is written as"):
        write.check(Path("x.gif"))


@pytest.mark.parametrize("story", STORIES)
def test_the_ladder_fits_a_terminal(story: Panel) -> None:
    lines = ladder(story)
    assert len(lines) == 1 + len(story.arrows) + len(story.bars)
    assert {len(line) for line in lines} == {80}


def test_the_ladder() -> None:
    told = Panel(
        "",
        [Bar("client", 0.1, 200.2, "pselect6 200.1 ms"), Bar("server", 0, 300.3, "accept4 300.3 ms")],
        [
            Arrow("client", 0, 100, "SYN", "handshake"),
            Arrow("server", 100, 200, "SYN-ACK", "handshake"),
            Arrow("client", 200.3, 200.3, "data 6 B", "data", dropped=True),
        ],
    )
    assert ladder(told) == [
        "      ms client                      shaper                      server       ms",
        "     0.0 ├─ SYN ──────────────── held 100.0 ms ──────────────────────▶│    100.0",
        "   200.0 │◀───────────────────── held 100.0 ms ───────────── SYN-ACK ─┤    100.0",
        "   200.2 ■ pselect6 200.1 ms                                          │         ",
        "   200.3 ├─ data 6 B ───────────── dropped ✕                          │         ",
        "         │                                           accept4 300.3 ms ■    300.3",
    ]


def test_many_packets_make_no_ladder() -> None:
    arrow = Arrow("client", 0, 100, "SYN", "handshake")
    assert ladder(Panel("", [], [arrow] * 100)) == []
