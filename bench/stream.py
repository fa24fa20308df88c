"""stream.py PORT SECONDS: one TCP flow over lo to a reader of its own; prints how many bytes came in what time."""

import json
import socket
import sys
import threading
import time

WARM_UP = 1.0
CHUNK = 1 << 18

port, seconds = int(sys.argv[1]), float(sys.argv[2])
server = socket.create_server(("127.0.0.1", port))
stop = time.monotonic() + WARM_UP + seconds


def send() -> None:
    with socket.create_connection(("127.0.0.1", port)) as client:
        data = bytes(CHUNK)
        while time.monotonic() < stop:
            client.sendall(data)


sender = threading.Thread(target=send)
sender.start()
reader, _ = server.accept()
begin = time.monotonic() + WARM_UP
buffer = bytearray(CHUNK)
counted = everything = 0
while got := reader.recv_into(buffer):
    everything += got
    now = time.monotonic()
    if begin <= now <= begin + seconds:
        counted += got
sender.join()
print(json.dumps({"bytes": counted, "seconds": seconds, "all_bytes": everything}))
