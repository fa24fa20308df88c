"""request: rounds of a request and its response on one connection."""

from shaper.probe.ends.end import End
from shaper.probe.ends.workload import Workload
from shaper.units import Size


class Request(Workload):
    """The client sends a request and reads the response, then the next one."""

    rounds: int = 3
    """How many requests, one after another."""
    request: Size = 100
    """Bytes of each request."""
    response: Size = 1000
    """Bytes of each response."""

    def server(self, end: End) -> None:
        connection = end.accept()
        while connection.receive(self.request):
            connection.sendall(bytes(self.response))
        connection.close()

    def client(self, end: End) -> None:
        connection = end.connect()
        for _ in range(self.rounds):
            connection.sendall(bytes(self.request))
            connection.receive(self.response)
        connection.close()
