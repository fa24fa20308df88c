"""pipeline: several requests at once and then their responses, on one connection."""

from shaper.probe.ends.end import End
from shaper.probe.ends.workload import Workload
from shaper.units import Size


class PipelinedRequests(Workload):
    """The client sends all requests before it reads; the server answers one after another."""

    requests: int = 4
    """How many requests are sent before the first response is read."""
    request: Size = 100
    """Bytes of each request."""
    response: Size = 1000
    """Bytes of each response."""

    def server(self, end: End) -> None:
        connection = end.accept()
        connection.send_at_once()
        while connection.receive(self.request):
            connection.sendall(bytes(self.response))
        connection.close()

    def client(self, end: End) -> None:
        connection = end.connect()
        connection.send_at_once()
        for _ in range(self.requests):
            connection.sendall(bytes(self.request))
        for _ in range(self.requests):
            connection.receive(self.response)
        connection.close()
