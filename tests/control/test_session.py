"""A session as a user has one: look at a running shaper, change it, watch it full-screen, end it."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.control.conftest import COMMAND, Start
from tests.control.front import Front
from tests.control.terminal import Terminal

SHAPER = (sys.executable, "-m", "shaper")


def shaper(*arguments: str, command: Sequence[str] = SHAPER) -> str:
    return subprocess.run([*command, *arguments], check=True, capture_output=True, text=True, timeout=60).stdout


def test_status_set_top_with_keys_and_stop(start: Start, tmp_path: Path) -> None:
    running = start(Front(("delay:20ms", "loss:1%"), name="web"))
    assert shaper("status", command=COMMAND).startswith("web: shaping, ")
    session(tmp_path, "web")
    assert not running.listeners.path.exists()


def session(folder: Path, name: str) -> None:
    """What the user does, with a shaper of this name whose pipeline is `delay:20ms | loss:1%`."""
    assert shaper("status", name).startswith(f"{name}: shaping, ")
    assert shaper("set", "--name", name, "delay:time=30ms") == "delay:time=30ms\n"
    with Terminal(folder, *SHAPER, "top", name) as screen:
        assert screen.shows(f"shaper {name} SHAPING"), screen.text
        assert screen.shows("time 30ms")
        screen.press("Enter")
        assert screen.shows("time: duration: How long packets are held")
        screen.press("Enter")
        assert screen.shows("Esc leave as it was")
        screen.press("40", "Enter")
        assert screen.shows("! delay: option time: '40' needs a unit of time"), screen.text
        screen.press("ms", "Enter")
        assert screen.shows("delay: time=40ms from now on"), screen.text
        screen.press("p")
        assert screen.shows("PAUSED")
        screen.press("r")
        assert screen.shows("held packets went on at once")
        screen.press("p")
        assert screen.shows(f"shaper {name} SHAPING")
        screen.press("q")
        assert screen.has_ended
    assert "delay:time=40ms" in shaper("status", name)
    with Terminal(folder, *SHAPER, "top", name) as screen:
        assert screen.shows("SHAPING")
        assert shaper("stop", name) == f"{name} has ended\n"
        assert screen.shows("NO ANSWER")
        assert screen.shows("these are the last figures, q leaves")
        screen.press("q")
        assert screen.has_ended
