"""A UDP client that asks once. Its twin asks again."""

import socket
import sys
import threading

REPAIRED = "repaired" in sys.argv


def serve(server: socket.socket) -> None:
    while True:
        question, client = server.recvfrom(512)
        server.sendto(b"192.0.2.1 is " + question, client)


def ask(question: bytes) -> bytes:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.connect(("127.0.0.1", 7002))
        client.settimeout(0.2)
        for _ in range(5 if REPAIRED else 1):
            client.send(question)
            try:
                return client.recv(512)
            except TimeoutError:
                continue
    sys.exit("no answer")


server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.1", 7002))
threading.Thread(target=serve, args=[server], daemon=True).start()
for name in (b"alpha", b"beta"):
    ask(name)
