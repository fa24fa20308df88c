"""A server that reads one letter after the other, and a client that posts one: python3 mailbox.py"""

import socket
import threading
import time

ADDRESS = ("127.0.0.1", 7400)


def serve(listener: socket.socket) -> None:
    """Take one letter, and say how long nobody else could have posted one."""
    connection, _ = listener.accept()
    begin = time.monotonic()
    with connection:
        while connection.recv(4096):
            pass
    print(f"mailbox: busy for {(time.monotonic() - begin) * 1000:.0f} ms with one letter")


def post(letter: bytes) -> None:
    """Connect, send a letter and close: the kernel sends three packets at once."""
    with socket.create_connection(ADDRESS) as connection:
        connection.sendall(letter)


if __name__ == "__main__":
    with socket.create_server(ADDRESS) as listener:
        server = threading.Thread(target=serve, args=[listener])
        server.start()
        post(b"Dear reader\n")
        server.join()
