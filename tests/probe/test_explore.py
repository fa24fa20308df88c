"""The page to explore: what it tells of packets and calls, and that a real browser shows it."""

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest

from shaper.probe.explain.blockings import blockings
from shaper.probe.panel import panel
from shaper.report.figure.explore import MANY, MOST, page, stack
from shaper.report.figure.model import Arrow, Panel
from shaper.report.story import PacketStories, call_story
from shaper.units import ms
from tests.control.browser import TIMEOUT, Page, browsing, chromium
from tests.probe.stories import netcat, spread

PLACE = """
(() => {
  const all = Bokeh.documents.at(-1), {data} = all.get_model_by_name(NAME);
  const view = Bokeh.index.find_one(all.get_model_by_name("panel 0"));
  const box = view.el.getBoundingClientRect();
  return [
    box.x + view.frame.x_scale.compute((data.left[WHICH] + data.right[WHICH]) / 2),
    box.y + view.frame.y_scale.compute((data.row ?? data.lane)[WHICH]),
  ];
})()
"""
"""Where a packet or a call is drawn, in pixels of the window."""
SEEN = """
(() => {
  const text = node => node.nodeType == Node.TEXT_NODE ? node.data : [node.shadowRoot, ...node.childNodes]
    .filter(child => child && !["SCRIPT", "STYLE"].includes(child.nodeName)).map(text).join("\\n");
  return text(document.body);
})()
"""
"""All texts on the page, those of shadow trees included."""
STORY = "document.getElementById('story').innerText"


def spread_panel() -> Panel:
    run = spread().run()
    return panel("<spread> & more", run, blockings(run))


def test_the_story_of_a_packet() -> None:
    run = spread().run()
    tell = PacketStories(run.records, run.began, blockings(run))
    data, synack = run.records[3], run.records[1]
    assert tell.of(data) == (
        "packet #4: tcp/8765 #1 original data 1",
        "52 bytes, PA, tcp 127.0.0.1:40000 > 127.0.0.1:8765",
        "sent by the client at 200.3 ms",
        "held by delay for 100.0 ms, until 300.4 ms",
        "held by spread_burst for 99.7 ms, until 400.0 ms",
        "went on to the server at 400.0 ms",
        "ended poll of server, which had waited 99.7 ms",
    )
    assert "sent because SYN #1 had come" in tell.of(synack)


def test_the_story_of_a_lost_packet() -> None:
    story = netcat()
    first = story.records[0]
    lost = first._replace(fate="dropped", by="loss", held=())
    again = first._replace(id=99, arrived=first.arrived + 1000 * ms, begin=first.begin + 1000 * ms)
    tell = PacketStories([lost, again], first.arrived, ())
    assert tell.of(lost)[-2:] == ("dropped by loss at 100.0 ms", "sent again at 1000.0 ms")
    assert "a retransmission of the packet sent at 0.0 ms" in tell.of(again)


def test_the_story_of_a_call() -> None:
    run = spread().run()
    poll = next(found for found in blockings(run) if found.role == "server" and found.waited_for == "data")
    told = call_story(poll, run.began, hidden=True)
    assert told[-1] == "does not wait under netem"
    assert "waited for: data" in told
    assert [line for line in told if "held by" in line] == ["data #4 held by spread_burst: 99.5 of 99.7 ms"]


def test_packets_that_touch_are_not_in_one_row() -> None:
    first = Arrow("client", 0, 100, "SYN", "handshake")
    assert stack([first, replace(first, sent=100, delivered=150), replace(first, sent=101, delivered=150)], 1) == [
        0,
        1,
        0,
    ]
    assert stack([first] * (MANY + 1), 1) is None


def test_a_page_is_one_file_of_limited_size() -> None:
    arrow = Arrow("client", 0, 100, "data 1448 B", "data", story=("x" * 60,) * 6)
    many = page(
        [Panel("", [], [replace(arrow, sent=float(at), delivered=at + 100.0) for at in range(2 * MOST)])], "", ""
    )
    assert len(many) < 2_000_000
    assert f"the first {MOST} of {2 * MOST} packets" in many
    few = page([spread_panel()], "a </script> & b", "then")
    assert len(few) < 1_500_000
    assert "<title>a &lt;/script&gt; &amp; b</title>" in few
    assert "default-src 'none'" in few  # the browser itself refuses to load anything


@pytest.mark.skipif(chromium() is None, reason="needs a browser: apt-get install chromium")
def test_a_click_shows_the_story_of_a_packet(tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    file.write_text(page([spread_panel()], "spread", "then"), encoding="utf-8")
    with browsing(tmp_path) as browser:
        browser.resize(1200)
        browser.prefer("dark")
        browser.open(file.as_uri())
        browser.wait("document.body.dataset.ready")
        assert (
            browser.evaluate("Bokeh.documents.at(-1).get_model_by_name('panel 0').background_fill_color") == "#0d1117"
        )
        assert browser.evaluate("document.getElementById('figure').clientWidth") > 1100

        x, y = point(browser, "panel 0 packets", 3)
        browser.wait(f"{SEEN}.includes('held by spread_burst for 99.7 ms')")
        keep(browser, "panel 0 packets", 3, "held by spread_burst for 99.7 ms")
        # Another click keeps another story: here that of the client's select.
        keep(browser, "panel 0 calls", 1, "SYN-ACK #2 held by delay: 99.9 ms")

        width = "(range => range.end - range.start)(Bokeh.documents.at(-1).get_model_by_name('panel 0').x_range)"
        before = browser.evaluate(width)
        browser.do("Input.dispatchMouseEvent", type="mouseWheel", x=x, y=y, deltaX=0, deltaY=-200, modifiers=2)
        browser.wait(f"{width} < {before}")

        rows = "Bokeh.documents.at(-1).get_model_by_name('panel 0').y_range.factors"
        browser.click("#lanes input[data-lane=client]")
        browser.wait(f"!{rows}.includes('client')")
        assert "server" in browser.evaluate(rows)
        assert not browser.faults


def point(browser: Page, name: str, which: int) -> tuple[float, float]:
    """Move the mouse to a packet or a call; where that is."""
    x, y = browser.evaluate(PLACE.replace("NAME", json.dumps(name)).replace("WHICH", str(which)))
    browser.do("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
    return x, y


def keep(browser: Page, name: str, which: int, text: str) -> None:
    """Click at a packet or a call until its story, with this text, is kept: two quick clicks are a double click."""
    deadline = time.monotonic() + TIMEOUT
    while text not in browser.evaluate(STORY):
        assert time.monotonic() < deadline, browser.evaluate(STORY)
        x, y = point(browser, name, which)
        for kind in ("mousePressed", "mouseReleased"):
            browser.do("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)
        time.sleep(0.1)
