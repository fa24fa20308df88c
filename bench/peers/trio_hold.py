"""trio_hold.py QUEUE MILLISECONDS: a deadline loop in trio: `wait_readable` under `move_on_at`."""

import sys
from collections import deque
from typing import Any

import trio
from binding import bind, report

hold = float(sys.argv[2]) / 1000
held: deque[tuple[float, Any]] = deque()
taken = 0


def on_packet(packet: Any) -> None:
    global taken
    taken += 1
    held.append((trio.current_time() + hold, packet))
    packet.retain()


async def main() -> None:
    queue = bind(int(sys.argv[1]), on_packet)
    while True:
        with trio.move_on_at(held[0][0] if held else float("inf")):
            await trio.lowlevel.wait_readable(queue.get_fd())
        queue.run(block=False)
        while held and held[0][0] <= trio.current_time():
            held.popleft()[1].accept()


try:
    trio.run(main)
except KeyboardInterrupt:
    report(taken)
