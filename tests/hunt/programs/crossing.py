"""A protocol that deadlocks when the offers of both ends cross. Its twin lets one end give way."""

import socket
import sys
import threading

REPAIRED = "repaired" in sys.argv
DEADLINE = 1.5
"""In seconds; a lost segment comes again after 0.2 to 0.9, as the SYN-ACK was late or not."""


def agree(peer: socket.socket, *, gives_way: bool, patience: float | None) -> bool:
    """Whether both ends have agreed. An end waits for an offer, but no longer than its patience (s)."""
    has_offered = False
    peer.settimeout(patience)
    try:
        message = peer.recv(1) if patience else b""
    except TimeoutError:
        message = b""
    if not message:
        peer.sendall(b"O")
        has_offered = True
    peer.settimeout(DEADLINE)
    try:
        while message != b"A":
            if message == b"O" and (not has_offered or (REPAIRED and gives_way)):
                peer.sendall(b"A")
                return True
            message = peer.recv(1)  # while an offer of its own is open, it takes no other
    except TimeoutError:
        return False
    return True


def serve(listener: socket.socket) -> None:
    connection, _ = listener.accept()
    agree(connection, gives_way=True, patience=0.1)
    connection.recv(1)


listener = socket.create_server(("127.0.0.1", 7006))
threading.Thread(target=serve, args=[listener], daemon=True).start()
with socket.create_connection(("127.0.0.1", 7006)) as server:
    if not agree(server, gives_way=False, patience=None):
        sys.exit("both wait")
