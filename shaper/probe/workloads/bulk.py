"""bulk: a one-way transfer to a reader that may be slow."""

import socket

from shaper.probe.ends.end import End
from shaper.probe.ends.workload import Workload
from shaper.units import Duration, Size


class Bulk(Workload):
    """The client writes, the server reads; then the client waits for the server's close."""

    size: Size = 256 * 1024
    """Bytes to transfer."""
    buffer: Size = 64 * 1024
    """The client's send buffer (SO_SNDBUF): once it is full, writing blocks."""
    read: Size = 64 * 1024
    """The most that the server reads at once."""
    pause: Duration = 0
    """How long the server pauses after each read."""

    def server(self, end: End) -> None:
        connection = end.accept()
        while connection.recv(self.read):
            if self.pause:
                end.pause(self.pause)
        connection.close()

    def client(self, end: End) -> None:
        connection = end.connect()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self.buffer)
        connection.sendall(bytes(self.size))
        connection.shutdown(socket.SHUT_WR)
        connection.recv(1)
        connection.close()
