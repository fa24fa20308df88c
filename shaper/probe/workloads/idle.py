"""idle: requests with long pauses between them, as from a user who thinks.

The server waits with epoll, as servers with many idle connections do.
"""

import select

from shaper.probe.ends.calls import IN
from shaper.probe.ends.end import End
from shaper.probe.ends.workload import Workload
from shaper.units import Duration, ms


class Idle(Workload):
    """The client pauses, sends a line and reads it back."""

    rounds: int = 3
    """How many requests."""
    gap: Duration = 300 * ms
    """The client's pause before each."""

    def server(self, end: End) -> None:
        connection = end.accept()
        with select.epoll() as epoll:
            epoll.register(connection, select.EPOLLIN)
            while True:
                end.epoll_wait(epoll, [(connection, IN)])
                request = connection.recv(4096)
                if not request:
                    break
                connection.sendall(request)
        connection.close()

    def client(self, end: End) -> None:
        connection = end.connect()
        for _ in range(self.rounds):
            end.pause(self.gap)
            connection.sendall(b"still there?")
            connection.recv(4096)
        connection.close()
