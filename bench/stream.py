"""stream.py receive|send ADDRESS PORT WARM_UP SECONDS: the two ends of one TCP flow.

The receiver prints how many bytes came in the seconds after the warm-up. It ends when the sender does.
"""

import json
import socket
import sys
import time

CHUNK = 1 << 18

end, address, port, warm_up, seconds = (
    sys.argv[1],
    sys.argv[2],
    int(sys.argv[3]),
    float(sys.argv[4]),
    float(sys.argv[5]),
)


def send() -> None:
    """Send for as long as the receiver counts."""
    with socket.create_connection((address, port)) as connection:
        data = bytes(CHUNK)
        stop = time.monotonic() + warm_up + seconds + 0.1
        while time.monotonic() < stop:
            connection.sendall(data)


def receive() -> None:
    """Receive, count, and print the counts."""
    server = socket.create_server((address, port))
    print("listening", flush=True)
    reader, _ = server.accept()
    begin = time.monotonic() + warm_up
    buffer = bytearray(CHUNK)
    counted = everything = 0
    while got := reader.recv_into(buffer):
        everything += got
        if begin <= time.monotonic() <= begin + seconds:
            counted += got
    print(json.dumps({"bytes": counted, "seconds": seconds, "all_bytes": everything}))


{"send": send, "receive": receive}[end]()
