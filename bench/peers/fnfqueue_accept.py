"""fnfqueue_accept.py QUEUE: the fnfqueue library; every packet is accepted."""

import signal
import socket
import sys

import fnfqueue
from binding import SO_RCVBUFFORCE, report

signal.signal(signal.SIGINT, signal.default_int_handler)
taken = 0
connection = fnfqueue.Connection()
queue = connection.bind(int(sys.argv[1]))
queue.set_mode(fnfqueue.MAX_PAYLOAD, fnfqueue.COPY_PACKET)
queue.set_maxlen(65535)
# The library has no call for this; without it, its socket buffer would be the only small one.
with socket.fromfd(connection._conn.fd, socket.AF_UNIX, socket.SOCK_STREAM) as sock:
    sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 16 << 20)
try:
    for packet in connection:
        taken += 1
        packet.accept()
except KeyboardInterrupt:
    report(taken)
