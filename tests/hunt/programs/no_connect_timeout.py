"""A client that waits for `connect` as long as the kernel does. Its twin gives up early and connects again."""

import socket
import sys
import threading
import time

REPAIRED = "repaired" in sys.argv
PATIENCE = 0.9
"""How long the user of this client waits, in seconds; TCP sends a SYN again after 1 s."""


def serve(listener: socket.socket) -> None:
    while True:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(connection.recv(16))


def connect() -> socket.socket:
    address = "127.0.0.1", 7003
    for _ in range(4 if REPAIRED else 0):
        try:
            return socket.create_connection(address, timeout=0.15)
        except TimeoutError:
            continue
    return socket.create_connection(address)


threading.Thread(target=serve, args=[socket.create_server(("127.0.0.1", 7003))], daemon=True).start()
begin = time.monotonic()
with connect() as server:
    server.settimeout(None)
    server.sendall(b"hello")
    server.recv(16)
if time.monotonic() - begin > PATIENCE:
    sys.exit("the user has gone")
