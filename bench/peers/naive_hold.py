"""naive_hold.py QUEUE MILLISECONDS: what one writes first: packet objects in a deque, and select with a timeout."""

import select
import sys
from collections import deque
from time import monotonic
from typing import Any

from binding import bind, report

hold = float(sys.argv[2]) / 1000
held: deque[tuple[float, Any]] = deque()
taken = 0


def on_packet(packet: Any) -> None:
    global taken
    taken += 1
    packet.retain()
    held.append((monotonic() + hold, packet))


queue = bind(int(sys.argv[1]), on_packet)
try:
    while True:
        timeout = max(0.0, held[0][0] - monotonic()) if held else None
        if select.select([queue.get_fd()], [], [], timeout)[0]:
            queue.run(block=False)
        while held and held[0][0] <= monotonic():
            held.popleft()[1].accept()
except KeyboardInterrupt:
    report(taken)
