"""connects: many non-blocking connects at once, and one select for all of them.

This is what EINPROGRESS is for: the waits for all handshakes pass at the same time.
"""

from shaper.probe.ends.calls import OUT
from shaper.probe.ends.end import End
from shaper.probe.ends.workload import Workload


class Connects(Workload):
    """The server accepts all connections before it closes the first."""

    connections: int = 8
    """How many connections."""

    def server(self, end: End) -> None:
        listening = end.listen()
        accepted = [listening.accept()[0] for _ in range(self.connections)]
        for connection in accepted:
            connection.recv(1)
            connection.close()

    def client(self, end: End) -> None:
        waiting = {
            connection.fileno(): connection for connection in (end.connecting() for _ in range(self.connections))
        }
        connected = []
        while waiting:
            for fd, _ in end.select([(connection, OUT) for connection in waiting.values()]):
                waiting[fd].check_connected()
                connected.append(waiting.pop(fd))
        for connection in connected:
            connection.close()
