"""`python shop.py [--timeout S] [--tries N]`: a shop at port 8080 that asks its warehouse, at port 8081, on each visit.

It answers 200 with what the warehouse said, or without that if it has heard nothing in time; 502 if the connection
failed each time it tried.
"""

from __future__ import annotations

import argparse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.error import URLError
from urllib.request import urlopen

SHOP, WAREHOUSE = 8080, 8081


class Warehouse(BaseHTTPRequestHandler):
    """Says what is in stock."""

    def do_GET(self) -> None:
        """Answer."""
        reply(self, 200, b"3 in stock\n")


class Shop(BaseHTTPRequestHandler):
    """Asks the warehouse.

    Attributes:
        timeout_s: how long to wait for its answer, in seconds; None for ever.
        tries: how often to ask if the connection fails.
    """

    timeout_s: float | None
    tries: int

    def do_GET(self) -> None:
        """Answer."""
        for _ in range(self.tries):
            try:
                with urlopen(f"http://127.0.0.1:{WAREHOUSE}/", timeout=self.timeout_s) as answer:
                    return reply(self, 200, answer.read())
            except TimeoutError:
                return reply(self, 200, b"perhaps in stock\n")
            except (ConnectionError, URLError) as error:
                if isinstance(getattr(error, "reason", None), TimeoutError):
                    return reply(self, 200, b"perhaps in stock\n")
        return reply(self, 502, b"try again later\n")


def reply(handler: BaseHTTPRequestHandler, status: int, body: bytes) -> None:
    """Answer a request."""
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--timeout", type=float, default=0.2, help="seconds to wait for the warehouse; 0: for ever")
    parser.add_argument("--tries", type=int, default=3, help="how often to ask it if the connection fails")
    options = parser.parse_args()
    Shop.timeout_s, Shop.tries = options.timeout or None, options.tries
    Thread(target=ThreadingHTTPServer(("127.0.0.1", WAREHOUSE), Warehouse).serve_forever, daemon=True).start()
    ThreadingHTTPServer(("127.0.0.1", SHOP), Shop).serve_forever()
