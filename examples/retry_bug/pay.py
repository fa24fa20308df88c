"""A client pays an order, and its server takes the money: python3 pay.py [--with-number]

If no answer comes in time, the client asks again. With --with-number it gives each order a number, by which the server
knows an order that it has already taken. The exit status is 1 if the money was not taken exactly once.
"""

import socket
import sys
import threading

ADDRESS = ("127.0.0.1", 7100)
PATIENCE = 0.15  # seconds until the client asks again; TCP sends a lost segment again after 0.2 s at the earliest

taken: list[str] = []  # the server's book


def serve(listener: socket.socket) -> None:
    """Take the money for each order that comes: a line such as `pay 20`, or `pay 20 order-1`."""
    done: set[str] = set()
    while True:
        connection, _ = listener.accept()
        with connection, connection.makefile("rw") as stream:
            amount, *number = stream.readline().split()[1:]
            if not done.issuperset(number) or not number:
                taken.append(amount)
                done.update(number)
            stream.write("thank you\n")


def pay(order: str) -> str:
    """Send an order until there is an answer, five times at most."""
    for _ in range(5):
        try:
            with socket.create_connection(ADDRESS, PATIENCE) as connection:
                connection.sendall(order.encode() + b"\n")
                return connection.makefile().readline()
        except TimeoutError:
            continue  # perhaps the order never came: send it again
    raise TimeoutError("no answer")


if __name__ == "__main__":
    listener = socket.create_server(ADDRESS)
    threading.Thread(target=serve, args=[listener], daemon=True).start()
    pay("pay 20 order-1" if "--with-number" in sys.argv else "pay 20")
    sys.exit(len(taken) != 1 and f"the money was taken {len(taken)} times")
