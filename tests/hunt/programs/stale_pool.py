"""A pool that uses a connection again which the other end has closed. Its twin then opens another one."""

import select
import socket
import sys
import threading
import time

REPAIRED = "repaired" in sys.argv
idle: list[socket.socket] = []


def serve(listener: socket.socket) -> None:
    """Answer one request for each connection."""
    while True:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(connection.recv(16))


def exchange(connection: socket.socket, request: bytes) -> bytes:
    connection.sendall(request)
    answer = connection.recv(16)
    if not answer:
        raise ConnectionError("closed without an answer")
    idle.append(connection)
    return answer


def ask(request: bytes) -> bytes:
    while idle:
        connection = idle.pop()
        if select.select([connection], [], [], 0)[0]:
            connection.close()  # its end has come
            continue
        try:
            return exchange(connection, request)
        except ConnectionError:
            if not REPAIRED:
                raise
    return exchange(socket.create_connection(("127.0.0.1", 7005)), request)


threading.Thread(target=serve, args=[socket.create_server(("127.0.0.1", 7005))], daemon=True).start()
for request in (b"one", b"two"):
    ask(request)
    time.sleep(0.1)  # something else to do
