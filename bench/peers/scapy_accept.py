"""scapy_accept.py QUEUE: the usual NetfilterQueue + scapy script, which looks at each packet's layers."""

import sys
from typing import Any

from binding import bind, report
from scapy.layers.inet import IP, TCP

taken = 0


def on_packet(packet: Any) -> None:
    global taken
    taken += 1
    layers = IP(packet.get_payload())
    if layers.haslayer(TCP) and layers[TCP].flags.P:
        packet.drop()
    else:
        packet.accept()


queue = bind(int(sys.argv[1]), on_packet)
try:
    queue.run()
except KeyboardInterrupt:
    report(taken)
