"""A session with a shaper that shapes: its front, engine and rules are real."""

import os
from collections.abc import Callable
from pathlib import Path

from tests.control.test_session import session
from tests.kernel.shaping import Shaper, nothing_is_left


def test_a_shaper_is_watched_changed_and_ended_while_it_runs(
    network: None, tmp_path: Path, rule_set: Callable[[], list[str]]
) -> None:
    name = f"session-{os.getpid()}"
    options = ("--port", "9", "--policy", "delay:20ms", "--policy", "loss:1%", "--name", name)
    with Shaper(tmp_path / "shaper", *options) as shaping:
        session(tmp_path, name)
        assert shaping.result()["problems"] == []
        assert shaping.status == 0
    assert nothing_is_left(rule_set)
