"""One side of a phone call: a packet each 20 ms, and what its listener hears: python3 call.py

A jitter buffer plays each packet a fixed time after it was sent, counted from the quickest packet of the call. A
packet that comes after its turn is as good as lost.
"""

import socket
import threading
import time

FRAME = 0.02  # seconds of speech in a packet
PACKETS = 50
SIZE = 172  # bytes: 160 of G.711, 12 for the header of RTP
BUFFERS = 0.01, 0.02, 0.04, 0.08  # seconds
ADDRESS = ("127.0.0.1", 7300)


def talk(speaker: socket.socket) -> None:
    """Send numbered packets to whoever rings."""
    _, listener = speaker.recvfrom(100)
    begin = time.monotonic()
    for number in range(PACKETS):
        time.sleep(max(0, begin + number * FRAME - time.monotonic()))
        speaker.sendto(number.to_bytes(2, "big") + bytes(SIZE - 2), listener)


def listen() -> list[tuple[int, float]]:
    """Ring, and return the number of each packet with the time at which it came, in their order."""
    heard = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.sendto(b"ring", ADDRESS)
        listener.settimeout(2)
        try:
            while True:
                number = int.from_bytes(listener.recv(SIZE)[:2], "big")
                heard.append((number, time.monotonic()))
                if number == PACKETS - 1:
                    listener.settimeout(0.2)  # for those that the last one has overtaken
        except TimeoutError:
            return heard


def report(heard: list[tuple[int, float]]) -> None:
    """Print what was lost and reordered, and what each jitter buffer plays."""
    numbers = [number for number, _ in heard]
    overtaken = sum(number < max(numbers[:place], default=0) for place, number in enumerate(numbers))
    print(f"{PACKETS} packets, {PACKETS - len(heard)} lost, {overtaken} overtaken by later ones")
    transit = [came - number * FRAME for number, came in heard]
    for buffer in BUFFERS:
        late = sum(each > min(transit) + buffer for each in transit)
        print(f"jitter buffer of {buffer * 1000:2.0f} ms: {late:3} late, {len(heard) - late:3} played")


if __name__ == "__main__":
    speaker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    speaker.bind(ADDRESS)
    threading.Thread(target=talk, args=[speaker], daemon=True).start()
    report(listen())
