"""Makes the picture of the page, docs/page.png, from a real run: python -m docs.page, as root, with Chromium."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.control.browser import Page, browsing

PICTURE = Path(__file__).parent / "page.png"
URL = "http://127.0.0.1:8475"
SECONDS = 125
"""The picture shows the last two minutes."""
# A namespace of its own, with a server and some clients that come and go.
INSIDE = """
mount -t tmpfs none /run
ip link set lo up
cd "$(mktemp -d)"
head -c 100000 /dev/urandom >file
python3 -m http.server -b 127.0.0.1 8080 >/dev/null 2>&1 & server=$!
{start} >/dev/null & shaper=$!
while sleep 0.15; do curl -s http://127.0.0.1:8080/file >/dev/null & done & clients=$!
sleep 2
{picture}
kill -TERM $shaper $clients $server
"""
START = "shaper start --name web --policy delay:20ms,jitter=5ms --policy loss:1% --port 8080 --listen 127.0.0.1:8475"


def take(page: Page) -> None:
    """Look at it for a while, change something, and take the picture."""
    page.resize(1000, 900)
    page.open(URL)
    page.wait("document.querySelectorAll('#flows tr').length > 3")
    time.sleep(SECONDS / 2)
    page.write("form[data-name=delay] input[name=time]", "40ms")
    page.press("Enter")
    time.sleep(SECONDS / 2)
    page.write("form[data-name=loss] input[name=probability]", "3%")
    # Only the flows that fit; they stay while nobody seems to look.
    page.evaluate("Object.defineProperty(document, 'hidden', {value: true})")
    time.sleep(2)
    page.evaluate("[...document.querySelectorAll('#flows tr')].slice(6).forEach(row => row.remove())")
    page.resize(1000, page.evaluate("Math.ceil(document.querySelector('footer').getBoundingClientRect().bottom)"))
    page.picture(PICTURE, whole=False)


if __name__ == "__main__":
    if sys.argv[1:] == ["inside"]:
        with TemporaryDirectory() as folder, browsing(Path(folder)) as page:
            take(page)
    else:
        here = f"{sys.executable} -m"
        script = INSIDE.format(
            start=START.replace("shaper", f"{here} shaper", 1), picture=f"cd {Path.cwd()} && {here} docs.page inside"
        )
        subprocess.run(["unshare", "-nm", "sh", "-c", script], check=True)
