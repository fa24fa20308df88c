"""Makes the picture of `shaper top`, docs/top.svg, from a shaper made up for it: python -m docs.top"""

from __future__ import annotations

import asyncio
import re
from math import sin
from pathlib import Path
from typing import Any

from shaper.top.app import Top
from tests.top.shaper import FakeShaper

PICTURE = Path(__file__).parent / "top.svg"
SIZE = (100, 30)
"""Columns and lines of the terminal."""
LOOKS = 60
FONTS = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)
"""Fonts that would come from a server of somebody else."""


class Lively(FakeShaper):
    """Its rates and latenesses go up and down."""

    def status(self) -> dict[str, Any]:
        state = super().status()
        wave = sin(self.seconds / 3) + sin(self.seconds / 1.3)
        state["taken"] += int(4000 * wave)
        state["sent"] += int(4000 * wave)
        state["held"] += int(60 * wave)
        state["late_us"]["p99"] += 40 * wave
        return state


async def picture() -> str:
    """The screen while an option is edited, as SVG."""
    shaper = Lively(("delay:20ms,jitter=5ms", "loss:1%"))
    app = Top(shaper, "web", interval=3600, clock=shaper.clock, today=shaper.today)
    async with app.run_test(size=SIZE) as pilot:
        await app.workers.wait_for_complete()
        for _ in range(LOOKS):
            shaper.seconds += 0.5
            await app.look()
        await pilot.press("right", "down", "enter")
        await pilot.pause()
        await pilot.press(*"8ms")
        await pilot.pause()
        return FONTS.sub("", app.export_screenshot(title="shaper top web"))


if __name__ == "__main__":
    PICTURE.write_text(asyncio.run(picture()), encoding="utf-8")
