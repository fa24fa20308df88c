"""A server that dies when a client aborts its connection. Its twin serves the next client."""

import socket
import struct
import sys
import threading

REPAIRED = "repaired" in sys.argv


def serve(listener: socket.socket) -> None:
    while True:
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(0.25)
            try:
                while request := connection.recv(16):
                    connection.sendall(request)
            except TimeoutError:
                pass  # the client has gone
            except ConnectionError:
                if not REPAIRED:
                    raise


def ask() -> bytes:
    """The answer; a client that has waited for too long aborts and tries again."""
    for _ in range(4):
        client = socket.socket()
        client.settimeout(0.15)
        try:
            client.connect(("127.0.0.1", 7004))
            client.sendall(b"hello")
            if answer := client.recv(16):
                client.close()
                return answer
        except OSError:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
    sys.exit("no server answers")


threading.Thread(target=serve, args=[socket.create_server(("127.0.0.1", 7004))], daemon=True).start()
ask()
