"""A front and its control server in a thread, with sockets in a folder of the test's own."""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import trio

from shaper.control import listen
from shaper.control.client import Client
from shaper.control.listen import Listeners, open_listeners
from shaper.control.serve import serve
from tests.control.front import Front

APART = """
import os, sys
from pathlib import Path
from shaper.cli import main
from shaper.control import listen
listen.SYSTEM = Path(os.environ["XDG_RUNTIME_DIR"]) / "shaper"
sys.exit(main())
"""
COMMAND = (sys.executable, "-c", APART)
"""The command `shaper`, which finds the shapers of the test alone, not those of other tests."""


class Running(NamedTuple):
    """A front that is served."""

    front: Front
    listeners: Listeners

    @property
    def client(self) -> Client:
        """A client at its Unix socket."""
        return Client(self.listeners.path)

    @property
    def url(self) -> str:
        """Of its TCP socket."""
        return self.listeners.addresses[0]

    def connect(self) -> socket.socket:
        """A new connection to its Unix socket."""
        connected = socket.socket(socket.AF_UNIX)
        connected.settimeout(20)
        connected.connect(str(self.listeners.path))
        return connected


def eventually(condition: Callable[[], object]) -> bool:
    """Whether this becomes true soon."""
    deadline = time.monotonic() + 20
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


Start = Callable[..., Running]


@pytest.fixture(autouse=True)
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where control sockets are, for root and others."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr(listen, "SYSTEM", tmp_path / "shaper")
    monkeypatch.delenv("SUDO_UID", raising=False)
    return tmp_path / "shaper"


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts a front and its server: `start(front, listen=…, token_file=…)`."""
    ends: list[Callable[[], None]] = []

    def start(front: Front | None = None, **options: Any) -> Running:
        front = front or Front()
        listeners = open_listeners(front.name, **options)
        ready = threading.Event()
        token: list[trio.lowlevel.TrioToken] = []

        async def main() -> None:
            token.append(trio.lowlevel.current_trio_token())
            async with trio.open_nursery() as nursery:
                nursery.start_soon(front.run)
                await nursery.start(serve, front, listeners, front.specs)
                ready.set()
                await front.stopped.wait()
                nursery.cancel_scope.cancel()
            listeners.close()

        thread = threading.Thread(target=trio.run, args=(main,))
        thread.start()
        assert ready.wait(30)

        def end() -> None:
            if thread.is_alive():
                with suppress(trio.RunFinishedError):
                    token[0].run_sync_soon(front.stopped.set)
            thread.join(30)
            assert not thread.is_alive()

        ends.append(end)
        return Running(front, listeners)

    yield start
    for end in ends:
        end()


@pytest.fixture
def running(start: Start) -> Running:
    """A shaper that listens at its Unix socket alone."""
    return start()


@pytest.fixture
def over_tcp(start: Start) -> Running:
    """A shaper that listens at 127.0.0.1, too."""
    return start(listen="127.0.0.1:0")
