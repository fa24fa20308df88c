"""The networks that commands run in: only a private lo, one with a way out, or ends around a router."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from shaper.errors import UsageError
from shaper.linux import namespace
from shaper.linux.libc import CLONE_NEWNET, setns
from shaper.linux.namespace import Private, cover
from shaper.live.rules.rules import Match
from shaper.topology.ends import OUTSIDE, Kind, Offload, Published, ends_of, hosts, name_servers, variables
from shaper.topology.links import Links
from shaper.topology.outside import Outside

HOSTS, RESOLV = "/etc/hosts", "/etc/resolv.conf"


class Topology:
    """Networks for commands; made before this process enters one of its own.

    Args:
        kind: which.
        clients: how many there are.
        mtu: of all interfaces, in bytes.
        offload: see `Links`.
        published: ports of the host that lead to the client.

    Attributes:
        ends: the hosts, first the one behind the bottleneck; none if there is only lo.

    Raises:
        UsageError: there can't be such a network.
        ShaperError: this machine can't make it; the message says why.
    """

    def __init__(
        self, kind: Kind, clients: int, mtu: int, offload: Offload, published: Sequence[Published] = ()
    ) -> None:
        self.ends = ends_of(kind, clients)
        if offload == "off" and not self.ends:
            raise UsageError("--offload off needs --network internet, routed or dumbbell: lo never cuts segments")
        self._mtu, self._offload = mtu, offload
        self._outside = Outside(published, mtu) if kind == "internet" else None
        self._links: Links | None = None

    def enter(self) -> Private:
        """Move this process into the network that is shaped: that of the router, or of the command.

        Raises:
            UsageError: the MTU is too small for IP, or too large.
            ShaperError: this machine can't make it; the message says why.
        """
        private = namespace.enter(self._mtu)
        if self.ends:
            with_ipv6 = self._outside is None or "ipv6" in self._outside.families
            self._links = Links(private, self._mtu, self._offload, with_ipv6=with_ipv6)
            if self._outside is None:
                self._links.join(self.ends)
            else:
                far, inside = self.ends
                self._links.lead_out(inside, far)
                self._outside.connect(private, self._links, far, inside)
        return private

    @property
    def match(self) -> Match:
        """What is shaped: all that passes lo, or the bottleneck, or both."""
        if not self.ends:
            return Match()
        far = self.ends[0].name
        return Match((far,), ("forward",)) if self._outside is None else Match(("lo", far), ("input", "forward"))

    def network_of(self, end: str) -> int:
        """The descriptor of an end's network namespace, with a router, once this process has entered."""
        assert self._links is not None
        return self._links.networks[end]

    def move(self, end: str) -> Callable[[], None]:
        """What a process that was just forked calls to be at this end; it must still be root of the networks.

        It then finds the ends' names in its own /etc/hosts, and their addresses in its environment.
        """
        if self._links is None:
            return lambda: None
        links, outside = self._links, self._outside
        ends = [each for each in self.ends if each.name != OUTSIDE]
        names = [(each.ipv4, each.name) for each in ends]
        names += [(each.ipv6, each.name) for each in ends if links.has_ipv6]
        covered = {}
        if outside is not None:
            names.append((outside.addresses.host[0], "host"))
            with suppress(FileNotFoundError):
                text = Path(RESOLV).read_text()
                if (replaced := name_servers(text, outside.addresses.dns)) != text:
                    covered[RESOLV] = replaced
        known = Path(HOSTS).read_text() if Path(HOSTS).exists() else ""
        covered[HOSTS] = hosts(names, known)
        found = variables(ends, has_ipv6=links.has_ipv6)
        network = links.networks.get(end)

        def move_there() -> None:
            if network is not None:  # with a way out, this one is already there
                setns(network, CLONE_NEWNET)
            cover(covered)
            os.environ.update(found)

        return move_there

    def close(self) -> None:
        """End the program that leads outside; the networks end with their processes."""
        if self._outside is not None:
            self._outside.close()
