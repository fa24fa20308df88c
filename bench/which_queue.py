"""which_queue.py QUEUES: sends packets between many addresses, and prints which queue the kernel gave each.

Runs in a network namespace of its own, and makes the rules there. Each line has source, destination, protocol and
queue, as JSON. Every packet has its answer: one with source and destination exchanged.
"""

import json
import random
import socket
import subprocess
import sys
import time
from ipaddress import IPv4Address, IPv6Address

from shaper.live.nfqueue.queue import HEADERS, Queue

PAIRS = 64
PROTOCOLS = 253, 254
"""Those that RFC 3692 keeps for experiments."""
IP_FREEBIND, IPV6_FREEBIND = 15, 78
PATIENCE = 10
"""Seconds until all packets must have come."""


def send(family: int, protocol: int, source: str, destination: str, payload: bytes) -> None:
    with socket.socket(family, socket.SOCK_RAW, protocol) as sender:
        if family == socket.AF_INET6:
            sender.setsockopt(socket.IPPROTO_IPV6, IPV6_FREEBIND, 1)
        else:
            sender.setsockopt(socket.IPPROTO_IP, IP_FREEBIND, 1)
        sender.bind((source, 0))
        sender.sendto(payload, (destination, 0))


def main(queues: int) -> None:
    for command in ("iptables", "ip6tables"):
        rule = f"{command} -w -A INPUT -i lo -j NFQUEUE --queue-balance 0:{queues - 1}"
        subprocess.run(rule.split(), check=True)
    # With these routes, all addresses of these networks are this machine's.
    subprocess.run(["ip", "-6", "route", "add", "local", "fd00::/16", "dev", "lo"], check=True)
    bound = [Queue(number, copy_range=HEADERS, length=65535, buffer=1 << 24) for number in range(queues)]
    chance = random.Random(0)
    sent: list[tuple[str, str, int]] = []
    for _ in range(PAIRS):
        for family in (socket.AF_INET, socket.AF_INET6):
            if family == socket.AF_INET:
                ends = [str(IPv4Address((127 << 24) + chance.randrange(1, 1 << 24))) for _ in range(2)]
            else:
                ends = [str(IPv6Address((0xFD00 << 112) + chance.randrange(1, 1 << 112))) for _ in range(2)]
            for protocol in PROTOCOLS:
                for source, destination in (ends, reversed(ends)):
                    send(family, protocol, source, destination, len(sent).to_bytes(2))
                    sent.append((source, destination, protocol))
    missing, deadline = len(sent), time.monotonic() + PATIENCE
    while missing and time.monotonic() < deadline:
        for queue in bound:
            for packet in queue.take():
                number = int.from_bytes(packet.raw[-2:])
                print(json.dumps([*sent[number], queue.number]))
                missing -= 1
    if missing:
        sys.exit(f"{missing} of {len(sent)} packets are missing")


if __name__ == "__main__":
    main(int(sys.argv[1]))
