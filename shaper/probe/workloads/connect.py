"""connect: one blocking connect, and a close."""

from shaper.probe.ends.end import End
from shaper.probe.ends.workload import Workload


class Connect(Workload):
    """The server waits for the end of file."""

    def server(self, end: End) -> None:
        connection = end.accept()
        connection.recv(1)
        connection.close()

    def client(self, end: End) -> None:
        end.connect().close()
