"""A retry that is not idempotent: if the answer is lost, the seat is booked twice. Its twin knows the request again."""

import socket
import sys
import threading

REPAIRED = "repaired" in sys.argv
booked: list[bytes] = []


def serve(server: socket.socket) -> None:
    while True:
        request, client = server.recvfrom(512)
        if not (REPAIRED and request in booked):
            booked.append(request)
        server.sendto(b"booked", client)


def book(request: bytes) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.connect(("127.0.0.1", 7008))
        client.settimeout(0.2)
        for _ in range(5):
            client.send(request)
            try:
                client.recv(512)
                return
            except TimeoutError:
                continue
    sys.exit("no answer")


server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.1", 7008))
threading.Thread(target=serve, args=[server], daemon=True).start()
book(b"request 17: seat 4")
if len(booked) != 1:
    sys.exit(f"booked {len(booked)} times")
