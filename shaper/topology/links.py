"""Links between this process's network namespace and others: with ends around a router, or with a way out.

They are pairs of veth(4). What an end sends is shaped where it is forwarded, behind the sender's interface. There a
held packet no longer counts against the sender's small-queue limit, see tcp_limit_output_bytes in
Documentation/networking/ip-sysctl.rst of the kernel.

A router forwards between ends that have namespaces of their own. With a way out there is only one end, and it is in the
namespace that is shaped, so that its lo is shaped, too. What it sends elsewhere takes a detour: it leaves by one side
of a pair, comes in again by the other one, and is forwarded from there.
"""

from __future__ import annotations

import array
import fcntl
import os
import socket
import struct
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from shaper.errors import ShaperError, UsageError
from shaper.linux.namespace import Private, own, within
from shaper.linux.programs import find
from shaper.linux.sysctl import path_of, set_sysctl
from shaper.topology.ends import BLOCKS, IPV4_PREFIX, IPV6_MTU, IPV6_PREFIX, LARGEST_MTU, OUTSIDE, End, Offload
from shaper.verbose import detail

ETH = "eth0"
"""The interface of each end."""
INDEX = 1000
"""Its index. A link whose sides have the same one is up only after a second, see linkwatch_urgent_event() in
net/core/link_watch.c of the kernel."""
BACK, BACK_MAC = "back", "02:00:00:00:00:01"
"""The interface by which what leaves comes in again, and its address."""
DETOUR = 100
"""The routing table for that, see ip-rule(8)."""
PATIENCE = 10.0
"""Seconds that links have to come up."""
POLLING = 0.001
"""Seconds between two looks."""

# linux/sockios.h, net/if.h
SIOCETHTOOL, SIOCGIFFLAGS = 0x8946, 0x8913
IFF_RUNNING = 0x40
# linux/ethtool.h: checksums, segmentation of TCP and in general, and putting together what came in.
ETHTOOL_STXCSUM, ETHTOOL_STSO, ETHTOOL_SGSO, ETHTOOL_SGRO = 0x17, 0x1F, 0x24, 0x2C


class Links:
    """The links of this process's network namespace.

    Args:
        private: what this process has entered.
        mtu: of all links, in bytes.
        offload: whether a sender leaves segmentation and checksums to its interface.
        with_ipv6: there are IPv6 addresses, if the kernel has IPv6 and the MTU allows it.

    Attributes:
        networks: descriptors of the ends' network namespaces, by name.
        has_ipv6: there are IPv6 addresses.

    Raises:
        UsageError: no link has such an MTU.
    """

    def __init__(self, private: Private, mtu: int, offload: Offload = "on", *, with_ipv6: bool = True) -> None:
        if mtu > LARGEST_MTU:
            raise UsageError(f"an MTU of {mtu} bytes is more than a link can have; give one up to {LARGEST_MTU}")
        self._private, self._mtu, self._offload = private, mtu, offload
        self.has_ipv6 = with_ipv6 and has_ipv6() and mtu >= IPV6_MTU
        self.networks: dict[str, int] = {}
        forward()
        detect_no_duplicates()

    def join(self, ends: Sequence[End]) -> None:
        """Make a namespace for each of these, and be the router between them; our interfaces have their names.

        Raises:
            ShaperError: ip(8) is missing, or the kernel refuses.
        """
        here = own()
        for end in ends:
            there = self.networks[end.name] = self._private.another(self._mtu)
            with within(there):
                detect_no_duplicates()
                let_all_listen()
                peer = f"type veth peer name {end.name} mtu {self._mtu} netns /proc/self/fd/{here}"
                ip([f"link add {ETH} index {INDEX} mtu {self._mtu} {peer}", *self._up(ETH, end.ipv4, end.ipv6)], here)
            ip(self._up(end.name, *end.routers))
        os.close(here)
        for end in ends:
            self._finish(end.name)
            with within(self.networks[end.name]):
                self._finish(ETH)
                ip(self._routes(BLOCKS if end.name == OUTSIDE else ("default", "default"), end.routers))

    def lead_out(self, inside: End, far: End) -> None:
        """Have this namespace be that of an end itself, and lead all that it sends elsewhere to another one.

        Raises:
            ShaperError: ip(8) is missing, or the kernel refuses.
        """
        self.join([far])
        let_all_listen()
        for interface in ("all", "default"):
            set_sysctl(f"net/ipv4/conf/{interface}/rp_filter", 0)
        # A held packet must not find its socket before it is held, since that one may be gone by then.
        set_sysctl("net/ipv4/tcp_early_demux", 0)
        pair = f"type veth peer name {BACK} mtu {self._mtu} address {BACK_MAC}"
        ip([f"link add {ETH} mtu {self._mtu} {pair}", *self._up(ETH, inside.ipv4, inside.ipv6), f"link set {BACK} up"])
        set_sysctl(f"net/ipv4/conf/{BACK}/accept_local", 1)
        self._finish(ETH)
        self._finish(BACK)
        # Nobody has the routers' addresses here: they stand for the pair's other side.
        neighbours = [f"neigh add {router} lladdr {BACK_MAC} nud permanent dev {ETH}" for router in inside.routers]
        onward = self._routes(("default", "default"), (far.ipv4, far.ipv6))
        ip(
            [
                *neighbours[: 1 + self.has_ipv6],
                *self._routes(("default", "default"), inside.routers),
                *(f"{line} table {DETOUR}" for line in onward),
            ]
        )
        for family in ("-4", "-6")[: 1 + self.has_ipv6]:
            ip([f"rule add iif {BACK} lookup {DETOUR}"], family=family)

    def _routes(self, to: tuple[str, str], via: tuple[str, str]) -> list[str]:
        """The lines for ip(8) that add a route for each family."""
        return [f"route add {each} via {router}" for each, router in zip(to, via, strict=True)][: 1 + self.has_ipv6]

    def _up(self, interface: str, ipv4: str, ipv6: str) -> list[str]:
        """The lines for ip(8) that give an interface its addresses, and bring it up."""
        lines = [f"addr add {ipv4}/{IPV4_PREFIX} dev {interface}"]
        if self.has_ipv6:
            lines.append(f"addr add {ipv6}/{IPV6_PREFIX} dev {interface} nodad")
        return [*lines, f"link set {interface} up"]

    def _finish(self, interface: str) -> None:
        """Wait until an interface carries packets; IPv6 only does with a link-local address."""
        give_up = time.monotonic() + PATIENCE
        while not is_running(interface) or (self.has_ipv6 and not has_link_local(interface)):
            if time.monotonic() > give_up:
                raise ShaperError(f"the link {interface} doesn't come up")
            time.sleep(POLLING)
        if self._offload == "off":
            switch_offload_off(interface)


def ip(lines: Sequence[str], *descriptors: int, family: str = "") -> None:
    """Have ip(8) do this in the network namespace of this process.

    Args:
        lines: commands, without the word `ip`.
        descriptors: that it inherits.
        family: its option, for commands without an address.

    Raises:
        ShaperError: it is missing, or the kernel refuses.
    """
    program = find("ip")
    if program is None:
        raise ShaperError("ip is not installed, which makes links: apt install iproute2")
    for line in lines:
        detail(f"ip {line}")
    done = subprocess.run(
        [program, *([family] if family else []), "-batch", "-"],
        input="\n".join(lines),
        capture_output=True,
        text=True,
        pass_fds=descriptors,
    )
    if done.returncode:
        raise ShaperError(f"ip: {' '.join(done.stderr.split())}")


def let_all_listen() -> None:
    """Let any user listen at any port, as root of a host of its own could."""
    set_sysctl("net/ipv4/ip_unprivileged_port_start", 0)


def has_ipv6() -> bool:
    """Whether new networks have IPv6."""
    switch = Path("/proc/sys/net/ipv6/conf/default/disable_ipv6")
    return switch.exists() and switch.read_text() == "0\n"


def forward() -> None:
    """Let this process's network forward packets."""
    for name in ("net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"):
        if path_of(name).exists():
            set_sysctl(name, 1)


def detect_no_duplicates() -> None:
    """Have interfaces of this network, from now on, use their IPv6 addresses as soon as they are up."""
    if path_of(name := "net/ipv6/conf/default/accept_dad").exists():
        set_sysctl(name, 0)


def is_running(interface: str) -> bool:
    """Whether an interface carries packets, see netdevice(7)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        answer = fcntl.ioctl(control, SIOCGIFFLAGS, struct.pack("16s24x", interface.encode()))
    return bool(struct.unpack_from("16xH", answer)[0] & IFF_RUNNING)


def has_link_local(interface: str) -> bool:
    """Whether an interface has its own IPv6 address, see the columns of proc(5)."""
    rows = [line.split() for line in Path("/proc/thread-self/net/if_inet6").read_text().splitlines()]
    return any(address.startswith("fe80") and name == interface for address, *_, name in rows)


def switch_offload_off(interface: str) -> None:
    """Have the sender's kernel cut segments and compute checksums itself, see ethtool(8)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        for command in (ETHTOOL_STSO, ETHTOOL_SGSO, ETHTOOL_SGRO, ETHTOOL_STXCSUM):
            value = array.array("I", (command, 0))
            fcntl.ioctl(control, SIOCETHTOOL, struct.pack("16sP16x", interface.encode(), value.buffer_info()[0]))
