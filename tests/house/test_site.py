"""The site builds without a warning, and its search answers what people ask."""

from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import quote

import pytest

from docs.site.__main__ import build
from tests.control.browser import browsing, chromium

QUESTIONS = {
    "retry test in pytest": "pytest",
    "why does my read block": "find-a-stall",
    "change delay while running": "control",
    "container": "containers",
}
"""What people ask, and the page with the answer."""
CLICKS = 3
"""The answer is among this many results: a search and a click, or two clicks that lead back."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    # A link that leads nowhere is a warning, and each warning fails it.
    assert build(folder) == 0
    return folder


class Quiet(SimpleHTTPRequestHandler):
    """Logs nothing."""

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def address(site: Path) -> Iterator[str]:
    """Where the site is served, as browsers search no pages of a folder."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site))) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_it_has_all_pages(site: Path) -> None:
    for page in ("index", "five-minutes", "commands/start", "api", "schemas", "iptables", "changes"):
        assert (site / f"{page}.html").exists(), page
    text = (site / "llms.txt").read_text()
    assert "- [Five minutes](five-minutes.html)" in text
    assert "## Reference" in text


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        text = page.read_text()
        assert 'src="http' not in text, page
        assert 'rel="stylesheet" type="text/css" href="http' not in text, page


@pytest.mark.skipif(chromium() is None, reason="there is no Chromium here")
def test_questions_are_answered_by_search(address: str, tmp_path: Path) -> None:
    with browsing(tmp_path) as page:
        for question, answer in QUESTIONS.items():
            page.open(f"{address}/search.html?q={quote(question)}")
            page.wait("document.querySelectorAll('#search-results li a').length > 0")
            page.wait("document.querySelector('#search-results .search-summary').innerText.includes('finished')")
            found = page.evaluate(
                "[...document.querySelectorAll('#search-results li a')].map(a => a.getAttribute('href'))"
            )
            places = [link.split("?")[0].split("#")[0].removesuffix(".html") for link in found]
            assert answer in list(dict.fromkeys(places))[:CLICKS], f"{question}: {places[:6]}"
