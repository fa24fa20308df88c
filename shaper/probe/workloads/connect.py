"""connect: one blocking connect, then nothing but the close."""

from shaper.probe.ends.end import End
from shaper.probe.ends.workload import Workload


class Connect(Workload):
    def server(self, end: End) -> None:
        connection = end.accept()
        connection.recv(1)
        connection.close()

    def client(self, end: End) -> None:
        end.connect().close()
