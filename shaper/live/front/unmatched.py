"""What is said while no packet has matched: what is shaped, and where the traffic really is."""

from __future__ import annotations

import fcntl
import socket
import struct
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import get_args

from shaper.linux.sockets import LISTENING, SocketEntry, Table, sockets
from shaper.live.rules.rules import Match
from shaper.spec.match import ANY

SIOCGIFADDR = 0x8915  # linux/sockios.h
UNMATCHED_AFTER = 5
"""Seconds without a packet that matches, until that is said."""
Address = IPv4Address | IPv6Address


def nothing_matched(match: Match, before: Mapping[str, int]) -> str:
    """Why that may be so, and what to do, in a line.

    Args:
        match: what is shaped.
        before: how many packets had passed each interface when shaping began, see `passed`.
    """
    now = passed()
    interfaces = match.interfaces or [name for name in now if name != "lo"]
    if match.ports:
        where = where_ports(match.ports, list(_all_sockets(match.ports)), dict(_addresses()), interfaces)
    else:
        where = where_interfaces(interfaces, before, now)
    return f"no packet has matched so far; {where}"


def passed() -> dict[str, int]:
    """How many packets each interface has received and sent, see proc_pid_net_dev(5)."""
    found = {}
    for line in Path("/proc/thread-self/net/dev").read_text().splitlines()[2:]:
        name, _, counts = line.partition(":")
        numbers = [int(count) for count in counts.split()]
        found[name.strip()] = numbers[1] + numbers[9]
    return found


def where_interfaces(interfaces: Collection[str], before: Mapping[str, int], now: Mapping[str, int]) -> str:
    """Where packets have passed, by the counts of all interfaces before and now."""
    more = {name: count - before.get(name, 0) for name, count in now.items() if count > before.get(name, 0)}
    if not more:
        return "no interface has a packet more than when it began"
    shaped = {name: count for name, count in more.items() if name in interfaces or ANY in interfaces}
    if shaped:
        return f"{_passed(shaped)}, but none of those that are to be shaped"
    named = " or ".join(interfaces) or "any but lo"
    return f"none passed {named}; {_passed(more)}; try --interface {_most(more)}"


def where_ports(
    ports: tuple[int, ...], used: list[SocketEntry], addresses: Mapping[Address, str], interfaces: Collection[str]
) -> str:
    """Where these ports are used, by the sockets that use them and the interfaces of all addresses."""
    named = f"port{'s' * (len(ports) > 1)} {', '.join(map(str, ports))}"
    connected: Counter[str] = Counter()
    listens = False
    for entry in used:
        if entry.remote_port:
            connected[_interface(entry, addresses)] += 1
        listens |= entry.state == LISTENING
    here = {name: count for name, count in connected.items() if name in interfaces or (name and ANY in interfaces)}
    elsewhere = {name: count for name, count in connected.items() if name and name not in here}
    if elsewhere:
        return f"sockets that use {named}: {_used(elsewhere)}; try --interface {_most(elsewhere)}"
    if here:
        return f"sockets that use {named}: {_used(here)}, and nothing passes"
    if listens:
        return f"a server listens at {named}, but nobody is connected"
    return f"no socket here uses {named}"


def _used(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} on {name}" for name, count in sorted(counts.items(), key=lambda it: -it[1]))


def _passed(counts: Mapping[str, int]) -> str:
    (most, count), *others = sorted(counts.items(), key=lambda it: -it[1])
    return ", ".join([f"{count:,} packets passed {most}", *(f"{count:,} {name}" for name, count in others)])


def _most(counts: Mapping[str, int]) -> str:
    return max(counts, key=counts.__getitem__)


def _interface(entry: SocketEntry, addresses: Mapping[Address, str]) -> str:
    """The interface that a connection's packets pass; empty if nobody knows."""
    if entry.remote.is_loopback or entry.remote in addresses:
        return "lo"  # as do all between addresses of this machine
    return addresses.get(entry.local, "")


def _all_sockets(ports: tuple[int, ...]) -> Iterator[SocketEntry]:
    for table in get_args(Table):
        with suppress(OSError):  # there is no IPv6 here
            for entry in sockets(table):
                if entry.local_port in ports or entry.remote_port in ports:
                    yield entry


def _addresses() -> Iterator[tuple[Address, str]]:
    """The addresses of this machine, each with its interface; of IPv4, the first of each interface."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        for _, name in socket.if_nameindex():
            with suppress(OSError):  # it has none
                answer = fcntl.ioctl(asking, SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
                yield ip_address(answer[20:24]), name
    path = Path("/proc/thread-self/net/if_inet6")
    for line in path.read_text().splitlines() if path.exists() else ():
        address, *_, name = line.split()
        yield ip_address(bytes.fromhex(address)), name
