"""A reader that takes a FIN in the middle of a message for its end. Its twin compares the length and fetches again."""

import socket
import sys
import threading

REPAIRED = "repaired" in sys.argv
HALVES = b"first half, ", b"second half"
WHOLE = b"".join(HALVES)


def serve(listener: socket.socket) -> None:
    """Send the length and half of the message, and the rest when the client has taken that, unless it is too slow."""
    while True:
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(0.15)
            connection.sendall(len(WHOLE).to_bytes(2) + HALVES[0])
            try:
                connection.recv(4)
            except TimeoutError:
                continue
            connection.sendall(HALVES[1])


def fetch() -> bytes:
    with socket.create_connection(("127.0.0.1", 7007)) as server:
        received = server.recv(64)
        server.sendall(b"more")
        while more := server.recv(64):
            received += more
    if REPAIRED and int.from_bytes(received[:2]) != len(received) - 2:
        return fetch()
    return received[2:]


threading.Thread(target=serve, args=[socket.create_server(("127.0.0.1", 7007))], daemon=True).start()
message = fetch()
if message != WHOLE:
    sys.exit(f"took {message!r} for the whole")
