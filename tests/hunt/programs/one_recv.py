"""A reader that takes one `recv` for one message. Its twin reads until it has the whole message."""

import socket
import sys
import threading
import time

REPAIRED = "repaired" in sys.argv
MESSAGE = b"HTTP/1.0 200 OK\r\n\r\n" + bytes(100)


def serve(listener: socket.socket) -> None:
    while True:
        connection, _ = listener.accept()
        with connection:
            connection.recv(16)
            connection.sendall(MESSAGE[:19])
            time.sleep(0.01)  # what the body needs
            connection.sendall(MESSAGE[19:])


def fetch() -> bytes:
    with socket.create_connection(("127.0.0.1", 7001)) as server:
        server.sendall(b"get")
        time.sleep(0.1)  # something else to do
        message = server.recv(len(MESSAGE))
        while REPAIRED and len(message) < len(MESSAGE) and (more := server.recv(len(MESSAGE))):
            message += more
        return message


threading.Thread(target=serve, args=[socket.create_server(("127.0.0.1", 7001))], daemon=True).start()
message = fetch()
if message != MESSAGE:
    sys.exit(f"got {len(message)} bytes of {len(MESSAGE)}")
