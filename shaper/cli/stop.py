"""`shaper stop`: the end of a running shaper."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shaper.cli.running import Name, connect

if TYPE_CHECKING:
    from shaper.control.client import Client

EXAMPLES = (
    "shaper stop",
    "shaper stop web",
)
PERIOD = 0.1
"""Seconds between two looks at a shaper whose process can't be watched."""


def stop(name: Name = None) -> None:
    """End a running shaper, and wait until it has ended.

    Held packets go on, in order, and the rules are removed, as after Ctrl-C.
    """
    shaper = connect(name)
    process = process_of(shaper)
    shaper.stop()
    wait(shaper, process)
    print(f"{shaper.name} has ended")


def process_of(shaper: Client) -> int | None:
    """A file descriptor of the shaper's process, see pidfd_open(2); None if it isn't seen from here."""
    import os
    from pathlib import Path

    pid = shaper.status()["pid"]
    try:
        # Another machine's, or another PID namespace's, has this number for something else.
        return os.pidfd_open(pid) if b"shaper" in Path(f"/proc/{pid}/cmdline").read_bytes() else None
    except OSError:
        return None


def wait(shaper: Client, process: int | None) -> None:
    """Until the process has ended, or nobody answers any more."""
    import os
    import time
    from contextlib import suppress
    from select import poll

    from shaper.errors import ShaperError

    if process is not None:
        waiting = poll()
        waiting.register(process)
        waiting.poll()
        os.close(process)
        return
    with suppress(ShaperError):
        while shaper.status():
            time.sleep(PERIOD)
