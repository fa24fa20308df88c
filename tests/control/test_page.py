"""The page, in a real browser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shaper.control import page as page_file
from tests.control.browser import Page, browsing, chromium
from tests.control.conftest import Running, Start, eventually
from tests.control.test_access import TOKEN, token_file
from tests.control.test_api import ask

__all__ = ["token_file"]

TIME = "form[data-name=delay] input[name=time]"
PROBABILITY = "form[data-name=loss] input[name=probability]"
SHAPING = "document.querySelector('#state').textContent == 'shaping'"
CONTRAST = """
(() => {
  const rgb = text => text.match(/[\\d.]+/g).slice(0, 3).map(Number);
  const part = one => (one /= 255) <= 0.03928 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4;
  const light = text => { const [r, g, b] = rgb(text).map(part); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const behind = element => {
    const color = getComputedStyle(element).backgroundColor;
    return /, 0\\)$/.test(color) ? behind(element.parentElement) : color;
  };
  const poor = [];
  for (const element of document.querySelectorAll("body *")) {
    const isText = [...element.childNodes].some(node => node.nodeType == 3 && node.data.trim());
    if (!isText || element.closest(":disabled, script, style") || !element.checkVisibility()) continue;
    const [a, b] = [light(getComputedStyle(element).color), light(behind(element))].sort((a, b) => b - a);
    if ((a + 0.05) / (b + 0.05) < 4.5) poor.push(element.textContent.trim());
  }
  return poor;
})()
"""
UNNAMED = """
[...document.querySelectorAll("input, button, a, [role=region], table th")]
  .filter(element => !(element.labels?.[0]?.textContent.trim() || element.textContent.trim()
    || element.getAttribute("aria-label") || element.getAttribute("aria-labelledby")))
  .map(element => element.outerHTML)
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    if chromium() is None:
        pytest.skip("needs a browser: apt-get install chromium")
    with browsing(tmp_path_factory.mktemp("browser")) as page:
        yield page


@pytest.fixture
def page(browser: Page, over_tcp: Running) -> Iterator[Page]:
    """The page of a running shaper."""
    browser.faults.clear()
    browser.resize(1200)
    browser.prefer("light")
    browser.open(over_tcp.url)
    browser.wait(SHAPING)
    yield browser
    # Of the page itself, not of what it asks for in vain.
    assert [fault for fault in browser.faults if not fault.startswith("Failed to load resource")] == []
    browser.open("about:blank")


def content(selector: str) -> str:
    return f"document.querySelector({selector!r}).textContent"


def test_it_needs_nothing_else(over_tcp: Running) -> None:
    status, headers, text = ask(over_tcp.url, "GET", "/")
    assert (status, text) == (200, page_file.TEXT)
    assert set(re.findall(r"https?://[^\"'` ]*", text)) == {"http://www.w3.org/2000/svg"}
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy


def test_it_shows_what_happens(page: Page) -> None:
    page.wait("document.querySelectorAll('#flows tr').length > 3")
    page.wait("Number(document.querySelector('#rate').textContent) > 50")
    page.wait("Number(document.querySelector('#held').textContent) > 0")
    page.wait("Number(document.querySelector('#late').textContent) > 0")
    assert page.evaluate("[...document.querySelectorAll('#stages h3')].map(name => name.textContent)") == [
        "delay",
        "loss",
    ]
    assert page.evaluate("document.title") == "shaper 0: shaping"


def test_an_option_is_changed(page: Page, over_tcp: Running) -> None:
    page.write(TIME, "50ms")
    page.press("Enter")
    assert eventually(lambda: over_tcp.client.stage("delay")["options"]["time"] == "50ms")
    page.wait(f"{content('#log')}.includes('change: delay:time=50ms')")
    page.wait("document.querySelectorAll('input.changed').length == 0")  # the event may come before the answer


def test_what_is_wrong_is_said_beside_it(page: Page, over_tcp: Running) -> None:
    page.write(TIME, "50")
    page.click("form[data-name=delay] button.main")
    page.wait(f"{content('form[data-name=delay] .error')}.includes('needs a unit of time')")
    assert over_tcp.client.stage("delay")["options"]["time"] == "20ms"
    page.click("form[data-name=delay] button[type=button]")
    assert page.evaluate(f"document.querySelector({TIME!r}).value") == "20ms"


def test_what_others_change_is_shown_but_what_is_edited_stays(page: Page, over_tcp: Running) -> None:
    page.write(PROBABILITY, "7%")
    over_tcp.client.set("delay", {"time": "33ms"})
    over_tcp.client.set("loss", {"probability": "3%"})
    page.wait(f"document.querySelector({TIME!r}).value == '33ms'")
    assert page.evaluate(f"document.querySelector({PROBABILITY!r}).value") == "7%"


def test_it_pauses_resumes_and_releases(page: Page, over_tcp: Running) -> None:
    page.click("#pause")
    page.wait(f"{content('#state')} == 'paused'")
    page.click("#pause")
    page.wait(SHAPING)
    page.click("#release")
    page.wait(f"{content('#log')}.includes('change: release')")


def test_the_pipeline_is_replaced(page: Page, over_tcp: Running) -> None:
    page.write("#specs", "rate:1mbit | dely:1ms")
    page.press("Enter")
    page.wait("document.querySelector('#pipeline .error').textContent.includes(\"did you mean 'delay'\")")
    page.write("#specs", "rate:1mbit | delay:1ms")
    page.press("Enter")
    page.wait("document.querySelectorAll('#stages form').length == 2")
    page.wait(f"{content('#stages h3')} == 'rate'")
    assert over_tcp.client.status()["policies"] == ["rate:1mbit", "delay:1ms"]


def test_packets_are_shown_on_demand(page: Page) -> None:
    page.click("#packets")
    page.wait("document.querySelectorAll('#log .is-packet').length > 2")


def test_the_end_is_noticed(page: Page, over_tcp: Running) -> None:
    over_tcp.client.stop()
    page.wait("!document.querySelector('#problem').hidden")
    assert page.evaluate(content("#state")) == "no answer"
    assert page.evaluate("document.querySelector('#pause').disabled")


def test_what_others_say_is_text(page: Page, over_tcp: Running) -> None:
    page.write("#specs", "<img src=x><b>bold</b>")
    page.press("Enter")
    page.wait("document.querySelector('#pipeline .error').textContent.includes('<b>bold</b>')")
    assert not page.evaluate("document.querySelector('b, img')")


def test_with_a_token_it_asks_for_it(browser: Page, start: Start, token_file: Path) -> None:
    running = start(listen="127.0.0.1:0", token_file=token_file)
    browser.open(running.url)
    browser.wait("!document.querySelector('#login').hidden")
    assert browser.evaluate(content("#state")) == "…"
    browser.write("#token", TOKEN)
    browser.press("Enter")
    browser.wait(SHAPING)
    assert browser.evaluate("document.querySelector('#login').hidden")
    browser.evaluate("sessionStorage.clear()")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1200, 800, 400])
def test_it_can_be_read(page: Page, width: int, scheme: Any, over_tcp: Running) -> None:
    page.resize(width)
    page.prefer(scheme)
    over_tcp.client.set("delay", {"time": "1ms"})
    page.write(TIME, "50")
    page.press("Enter")
    page.wait(f"{content('form[data-name=delay] .error')} != ''")
    page.wait(f"{content('#log')}.includes('change')")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(CONTRAST) == []
    assert page.evaluate(UNNAMED) == []


def test_keys_reach_everything(page: Page) -> None:
    page.evaluate("document.activeElement.blur()")
    reached = []
    for _ in range(20):
        page.press("Tab")
        reached.append(
            page.evaluate("document.activeElement.id || document.activeElement.name || document.activeElement.tagName")
        )
    places = [reached.index(name) for name in ("pause", "release", "time", "probability", "specs", "packets", "log")]
    assert places == sorted(places)
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
