"""Sends N small segments at once, and waits until all are acknowledged: python3 burst.py N"""

import socket
import sys
import termios
import time
from array import array
from fcntl import ioctl


def unacknowledged(connection: socket.socket) -> int:
    """How many bytes its peer has not acknowledged yet, see SIOCOUTQ in tcp(7)."""
    count = array("i", [0])
    ioctl(connection, termios.TIOCOUTQ, count)
    return count[0]


def burst(segments: int) -> float:
    """Send them over a new connection; returns after how many milliseconds they were acknowledged."""
    with (
        socket.create_server(("127.0.0.1", 7500)) as listener,
        socket.create_connection(listener.getsockname()) as sender,
        listener.accept()[0] as receiver,
    ):
        sender.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
        begin = time.monotonic()
        for _ in range(segments):
            sender.send(b".")
        while unacknowledged(sender):
            time.sleep(0.001)
        took = (time.monotonic() - begin) * 1000
        receiver.recv(segments)  # so that it closes with a FIN: with unread data it would reset the connection
        return took


if __name__ == "__main__":
    segments = int(sys.argv[1])
    print(f"{segments} in flight: acknowledged after {burst(segments):.0f} ms")
