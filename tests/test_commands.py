"""The order in which several commands start."""

import os

import pytest
import trio

from shaper.linux import commands
from shaper.linux.command import Command
from shaper.linux.commands import Commands


class Started(Command):
    """A command that only says when it starts; as a server, it listens to nothing."""

    def __init__(self, name: str, order: list[str]) -> None:
        self.name, self.order, self.pid = name, order, os.getpid()

    def release(self) -> None:
        self.order.append(self.name)

    def has_ended(self) -> bool:
        return self.name == "ended"


@pytest.mark.parametrize(("server", "said"), [("ended", []), ("deaf", ["deaf said"])])
def test_clients_start_after_a_server_even_if_it_never_listens(
    server: str, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "SECONDS_TO_LISTEN", 0.05)
    order: list[str] = []
    started = Commands([Started(server, order)], [Started("client", order)], lambda it: order.append(f"{server} said"))
    trio.run(started.start)
    assert order == [server, *said, "client"]
