"""A server of pages and a client that asks for 300 of them, one after the other: python3 pages.py [--nodelay]

Most pages are sent in one piece. One in fifty is new: the server sends its head first, then its text.
"""

import socket
import sys
import threading
import time
from statistics import quantiles

ADDRESS = ("127.0.0.1", 7200)
PAGES = 300
HEAD, TEXT = b"200 OK, 1000 bytes\n", b"." * 999 + b"\n"


def serve(listener: socket.socket, nodelay: bool) -> None:
    """Answer a line with its number with a head and a text."""
    connection, _ = listener.accept()
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, nodelay)
    for line in connection.makefile():
        if int(line) % 50 == 49:
            connection.sendall(HEAD)
            connection.sendall(TEXT)
        else:
            connection.sendall(HEAD + TEXT)


def ask() -> list[float]:
    """Ask for all pages, and return how long each of them took, in milliseconds."""
    took = []
    with socket.create_connection(ADDRESS) as connection, connection.makefile("rb") as answers:
        for number in range(PAGES):
            begin = time.monotonic()
            connection.sendall(b"%d\n" % number)
            assert answers.readline() == HEAD
            assert answers.readline() == TEXT
            took.append((time.monotonic() - begin) * 1000)
    return took


if __name__ == "__main__":
    listener = socket.create_server(ADDRESS)
    threading.Thread(target=serve, args=[listener, "--nodelay" in sys.argv], daemon=True).start()
    percentiles = quantiles(ask(), n=100)
    print(f"median {percentiles[49]:.1f} ms, p99 {percentiles[98]:.1f} ms")
