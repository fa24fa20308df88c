"""The way from the far end of a link to the host's network: pasta(1), or slirp4netns(1) where only that exists.

Both are ordinary programs. One runs in the host's network, and gives the far end an interface: what the far end sends
there, it sends on by sockets of its own. The far end translates addresses, so that what is shaped has those of the
command and of the outside.
"""

from __future__ import annotations

import os
import shlex
import signal
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from shaper.errors import ShaperError, UsageError
from shaper.linux.command import end_with_parent
from shaper.linux.libc import capset
from shaper.linux.namespace import Private, within
from shaper.linux.programs import find
from shaper.linux.sysctl import set_sysctl
from shaper.live.rules.iptables import Family, restore
from shaper.topology.ends import End, Published, ipv4, ipv6
from shaper.topology.links import ETH, Links, forward, ip
from shaper.verbose import detail

WAN = "wan"
"""The far end's interface to the outside."""
PATIENCE = 10.0
"""Seconds that the program has to set it up."""
POLLING = 0.002
"""Seconds between two looks."""
ANYWHERE: dict[Family, str] = {"ipv4": "192.0.2.1", "ipv6": "2001:db8::1"}
"""Addresses that nobody has, RFC 5737 and RFC 3849: those of a default route."""


class Addresses(NamedTuple):
    """The addresses beyond the far end, of IPv4 and IPv6, which only the program knows of.

    Attributes:
        own: the far end's, on its interface to the outside.
        host: what is sent there reaches the host's own lo.
        dns: what is asked there is asked of the host's first name server.
    """

    own: tuple[str, str]
    host: tuple[str, str]
    dns: tuple[str, str]


PASTA = Addresses(*((ipv4(0, number), ipv6(0, number)) for number in (2, 1, 3)))
SLIRP = Addresses(("10.0.2.100", "fd00::100"), ("10.0.2.2", "fd00::2"), ("10.0.2.3", "fd00::3"))


class Outside:
    """The program that leads outside, which waits until it is needed.

    It must be made before this process enters a network of its own. It ends with this process, however that ends.

    Args:
        published: ports of the host that lead inside.
        mtu: of the interface to the outside, in bytes.

    Attributes:
        families: those for which the host has a default route.
        addresses: what the program is called by.

    Raises:
        ShaperError: there is no such program, or the host has no default route.
        UsageError: only slirp4netns is there, which can't publish ports like this.
    """

    def __init__(self, published: Sequence[Published], mtu: int) -> None:
        self.families = [family for family in ANYWHERE if has_route(family)]
        if not self.families:
            raise ShaperError("this machine has no default route, so there is no way out for --network internet")
        self._published, self._mtu = published, mtu
        pasta, slirp = find("pasta"), find("slirp4netns")
        if pasta is None and slirp is None:
            raise ShaperError("--network internet needs pasta: apt install passt (or slirp4netns)")
        if pasta is None and published:
            raise UsageError("--publish needs pasta: apt install passt; slirp4netns alone can't do it")
        self._program = pasta or slirp or ""
        self.addresses = PASTA if pasta else SLIRP
        if not pasta:
            self.families = ["ipv4"]  # it can do IPv6 only where the host announces it
        self._errors = os.memfd_create("errors")
        waiting, self._gate = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(self._gate)
            self._wait_then_run(waiting)
        os.close(waiting)
        self._started = [pid]

    def _wait_then_run(self, gate: int) -> None:
        """The program's process, until it becomes the program."""
        try:
            os.setpgid(0, 0)  # a Ctrl-C is for the commands
            end_with_parent()
            with open(gate, "rb") as file:
                words = file.read().split(b"\0")
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # which Python ignores; pasta refuses that
            null = os.open(os.devnull, os.O_RDWR)
            for number, to in enumerate((null, null, self._errors)):
                os.dup2(to, number)
            if len(words) > 1:
                os.execv(self._program, words)
        finally:
            os._exit(1)

    def connect(self, private: Private, links: Links, far: End, inside: End) -> None:
        """Lead what the far end gets by its link outside, and what comes to published ports inside.

        Raises:
            ShaperError: the program or the kernel refuses.
        """
        families = [family for family in self.families if family == "ipv4" or links.has_ipv6]
        with within(links.networks[far.name]):
            self._started.append(holder := hold())
            arguments = [*(self._pasta if self.addresses is PASTA else self._slirp)(holder, private.mapped, families)]
            detail(f"process {self._started[0]}: {shlex.join([self._program, *arguments])}")
            with open(self._gate, "wb") as gate:
                gate.write("\0".join([self._program, *arguments]).encode())
            self._wait_until_connected(families)
            forward()
            ip(list(self._routes(links, far)))
            # Answers come from where the request was sent: from the far end's own lo.
            set_sysctl(f"net/ipv4/conf/{ETH}/route_localnet", 1)
            for family in families:
                restore(family, self._translation(family, inside))

    def _pasta(self, holder: int, mapped: bool, families: Sequence[Family]) -> Iterator[str]:
        yield from ("--foreground", "--quiet", "--config-net", "--ns-ifname", WAN, "--mtu", str(self._mtu))
        for own, host, dns, family in zip(PASTA.own, PASTA.host, PASTA.dns, ANYWHERE, strict=True):
            if family in families:
                yield from ("--address", own, "--gateway", host, "--dns-forward", dns)
        if "ipv4" in families:
            yield from ("--netmask", "255.255.255.0")
        if len(families) == 1:
            yield f"--{families[0]}-only"
        for option, protocol in (("--tcp-ports", "tcp"), ("--udp-ports", "udp")):
            ports = [f"{each.outside}:{each.inside}" for each in self._published if each.protocol == protocol]
            for port in ports or ["none"]:
                yield from (option, port)
        yield from ("--tcp-ns", "none", "--udp-ns", "none")
        if mapped:
            yield str(holder)
        else:
            yield from ("--runas", str(os.geteuid()), "--netns-only", "--netns", f"/proc/{holder}/ns/net")

    def _slirp(self, holder: int, mapped: bool, families: Sequence[Family]) -> Iterator[str]:
        yield from ("--configure", f"--mtu={self._mtu}")
        if mapped:
            yield f"--userns-path=/proc/{holder}/ns/user"
        yield from ("--netns-type=path", f"/proc/{holder}/ns/net", WAN)

    def _wait_until_connected(self, families: Sequence[Family]) -> None:
        """Wait until this process's network has a default route for each family."""
        give_up = time.monotonic() + PATIENCE
        while not all(has_route(family) for family in families):
            ended = os.waitid(os.P_PID, self._started[0], os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if ended or time.monotonic() > give_up:
                said = os.pread(self._errors, 1 << 16, 0).decode(errors="replace").splitlines()
                # Where there is no system log, pasta says that, too, with each line.
                why = [line for line in said if line.strip() and "syslog" not in line]
                hint = "; it must be allowed to open /dev/net/tun" if any("tun" in line for line in why) else ""
                raise ShaperError(f"{Path(self._program).name}: {'; '.join(why) or 'it set up no interface'}{hint}")
            time.sleep(POLLING)

    def _routes(self, links: Links, far: End) -> Iterator[str]:
        """The lines for ip(8) by which connections to the far end's own lo leave by its link.

        The program makes such ones when a program of the host's connects to a published port by way of lo.
        """
        yield "addr del 127.0.0.1/8 dev lo"
        yield f"route add 127.0.0.0/8 via {far.routers[0]} dev {ETH} src {far.ipv4}"
        if links.has_ipv6:
            yield "addr del ::1/128 dev lo"
            yield f"route add ::1/128 via {far.routers[1]} dev {ETH} src {far.ipv6}"

    def _translation(self, family: Family, inside: End) -> str:
        """The rules that translate addresses, as iptables-restore(8) reads them."""
        to = inside.ipv4 if family == "ipv4" else inside.ipv6
        lines = ["*nat", f"-A POSTROUTING -o {WAN} -j MASQUERADE"]
        for protocol, port in sorted({(each.protocol, each.inside) for each in self._published}):
            for chain in (f"PREROUTING -i {WAN}", "OUTPUT"):
                lines.append(f"-A {chain} -p {protocol} --dport {port} -j DNAT --to-destination {to}")
        return "\n".join([*lines, "COMMIT", ""])

    def close(self) -> None:
        """End the program."""
        os.close(self._errors)
        for pid in self._started:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def has_route(family: Family) -> bool:
    """Whether this process's network has a default route; no packet is sent to find out."""
    try:
        with socket.socket(socket.AF_INET if family == "ipv4" else socket.AF_INET6, socket.SOCK_DGRAM) as unsent:
            unsent.connect((ANYWHERE[family], 9))
    except OSError:  # there is none, or the kernel lacks the family
        return False
    return True


def hold() -> int:
    """Start a process that only is where this one is now, for those who get there by /proc; returns its number.

    It has no capabilities. A program that gave up some of its own may not look at one that has them, see ptrace(2).
    """
    pid = os.fork()
    if pid == 0:
        try:
            os.setpgid(0, 0)
            capset(0)
            end_with_parent()
            os.closerange(0, os.sysconf("SC_OPEN_MAX"))
            while True:
                signal.pause()
        finally:
            os._exit(1)
    return pid
