"""http: the standard library's HTTP/1.1 client and server, with all requests on one connection."""

from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, HTTPServer

from shaper.probe.ends.end import End
from shaper.probe.ends.workload import Workload
from shaper.units import Size


class Http(Workload):
    """The client sends GET requests one after another."""

    requests: int = 2
    """How many GET requests."""
    body: Size = 1000
    """Bytes of each response's body."""

    def server(self, end: End) -> None:
        with HTTPServer(("", 0), _handler(bytes(self.body)), bind_and_activate=False) as server:
            server.socket.close()
            server.socket = end.listen()
            server.process_request(*server.get_request())

    def client(self, end: End) -> None:
        http = HTTPConnection(*end.address[:2])
        http.sock = end.connect()
        for _ in range(self.requests):
            http.request("GET", "/")
            http.getresponse().read()
        http.close()


def _handler(body: bytes) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # As every server in use does: otherwise the body waits for the ACK of its header.
        disable_nagle_algorithm = True

        def respond(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = respond

        def log_message(self, format: str, *arguments: object) -> None:
            """Nothing: the probe's output is its calls."""

    return Handler
