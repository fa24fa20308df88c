"""accept.py QUEUE: bare NetfilterQueue; every packet is accepted, unseen."""

import sys
from typing import Any

from binding import bind, report

taken = 0


def on_packet(packet: Any) -> None:
    global taken
    taken += 1
    packet.accept()


queue = bind(int(sys.argv[1]), on_packet)
try:
    queue.run()
except KeyboardInterrupt:
    report(taken)
