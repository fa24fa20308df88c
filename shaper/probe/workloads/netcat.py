"""netcat: the experiment, `echo lttng | netcat` to `netcat -l > /dev/null`.

The client makes the calls of OpenBSD's netcat with -N: a non-blocking connect and a
select for it, one write, shutdown, then a poll and a read that wait for the peer's close.
The server calls accept, then poll and read until the end of file.
"""

import socket

from shaper.probe.ends.calls import IN, OUT
from shaper.probe.ends.end import End
from shaper.probe.ends.workload import Workload


class Netcat(Workload):
    """The client sends one line; the server reads it and closes."""

    message: str = "lttng"
    """The line that the client sends, without the newline."""

    def server(self, end: End) -> None:
        connection = end.accept()
        while True:
            end.poll([(connection, IN)])
            if not connection.recv(16384):
                break
        connection.close()

    def client(self, end: End) -> None:
        connection = end.connecting()
        end.select([(connection, OUT)])
        connection.check_connected()
        connection.setblocking(True)
        connection.sendall(self.message.encode() + b"\n")
        connection.shutdown(socket.SHUT_WR)
        end.poll([(connection, IN)])
        connection.recv(16384)
        connection.close()
