"""The page of a running shaper: one file, which loads nothing else and talks to nobody but the shaper it came from."""

from __future__ import annotations

import re
from base64 import b64encode
from hashlib import sha256
from importlib.resources import files

TEXT = (files("shaper.control") / "page.html").read_text("utf-8")


def _hashes(tag: str) -> str:
    """The contents of all elements of a kind, as a Content-Security-Policy names them."""
    parts = re.findall(rf"<{tag}>(.*?)</{tag}>", TEXT, re.DOTALL)
    return " ".join(f"'sha256-{b64encode(sha256(part.encode()).digest()).decode()}'" for part in parts)


HEADERS = {
    "Content-Security-Policy": f"default-src 'none'; script-src {_hashes('script')}; style-src {_hashes('style')}; "
    "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""No script or style but those in the page runs, and no other site may show it in a frame."""
