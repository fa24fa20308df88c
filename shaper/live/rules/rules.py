"""The rules that bring packets to the queue: which packets, and the text for iptables.

A rule set is a chain of our own in the mangle table, and rules that jump to it from the hooks. For OUTPUT there is a
second chain, which leads to a queue of its own (see nfqueue/output.py). What the rules look like is in
iptables/shaper.rules.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from ipaddress import ip_network
from string import Template

from shaper.errors import UsageError
from shaper.linux.sock_diag import Service
from shaper.live.nfqueue.numbers import output_number
from shaper.live.rules import iptables, ssh
from shaper.live.rules.bpf import behind_fragment_header, bytecode
from shaper.live.rules.iptables import Family
from shaper.live.rules.owner import Owner
from shaper.live.rules.ruleset import RuleSet, matching
from shaper.spec.match import ANY, HOOKS, Hook, Protocol

# A packet that a policy made carries this bit, so that it is not queued again.
INJECT_MARK = 0x1000_0000
# A packet that a control group has sent over lo carries this bit; when it comes in, its sender isn't known any more.
GROUP_MARK = 0x0800_0000
# Neighbour and router discovery, RFC 4861: without it nothing reaches an IPv6 neighbour.
NEIGHBOUR_DISCOVERY = range(133, 138)
# Fragments, see iptables-extensions(8). "frag" alone matches the first one, too.
FIRST = " -m frag --fragfirst"
MARKED = f"{GROUP_MARK:#x}/{GROUP_MARK:#x}"
SIDES = ("--dport", "--sport")
LATER: dict[Family, str] = {"ipv4": " -f", "ipv6": " -m frag"}


@dataclass(frozen=True)
class Match:
    """Which packets are shaped."""

    interfaces: tuple[str, ...] = ("lo",)
    """Those that they pass; `any` stands for all, none for all but lo."""
    hooks: tuple[Hook, ...] = HOOKS
    """On their way into this machine, out of it, or through it."""
    protocol: Protocol = "all"
    """`icmp` includes ICMPv6."""
    ports: tuple[int, ...] = ()
    """Of TCP and UDP, at either end; empty for all."""
    source: str | None = None
    """An address or a network, which decides the family."""
    destination: str | None = None
    """An address or a network, which decides the family."""
    filter: str | None = None
    """An expression as tcpdump takes it, see pcap-filter(7)."""
    host: str | None = None
    """An address or a network at either end, which decides the family."""
    cgroup: str | None = None
    """A control group, as xt_cgroup takes its path: only packets of its processes."""
    served: tuple[Service, ...] = ()
    """The ports at which these wait. When a connection begins, and on lo, the kernel doesn't know a packet's socket."""

    @property
    def takes_all(self) -> bool:
        """All traffic of a real interface, so that a mistake could cut off a remote user: ask first."""
        addresses = self.source or self.destination or self.host
        narrowed = self.protocol != "all" or self.ports or addresses or self.filter or self.cgroup
        return self.interfaces != ("lo",) and not narrowed

    @property
    def jumps(self) -> list[tuple[Hook, str]]:
        """Where packets are taken: hooks, each with the chain and the interface in iptables' terms.

        No packet is taken twice: on lo each one would pass OUTPUT and INPUT, so one of them is enough; and one that has
        been queued skips the rest of the table, so a second line of FORWARD doesn't get it.
        """
        found: list[tuple[Hook, str]] = []
        for name in (ANY,) if ANY in self.interfaces else dict.fromkeys(self.interfaces or ("",)):
            if not name:
                ways: dict[Hook, list[str]] = {
                    "input": ["INPUT ! -i lo"],
                    "output": ["OUTPUT ! -o lo"],
                    "forward": ["FORWARD"],
                }
            elif name == ANY:
                ways = {"input": ["INPUT"], "output": ["OUTPUT"], "forward": ["FORWARD"]}
                if "input" in self.hooks:
                    ways["output"] = ["OUTPUT ! -o lo"]
            elif name == "lo":
                ways = {"input": ["INPUT -i lo"]} if "input" in self.hooks else {"output": ["OUTPUT -o lo"]}
            else:
                ways = {
                    "input": [f"INPUT -i {name}"],
                    "output": [f"OUTPUT -o {name}"],
                    "forward": [f"FORWARD -i {name}", f"FORWARD -o {name}"],
                }
            if self.cgroup is not None:
                ways.pop("forward", None)  # such packets have no socket
            found += [(hook, way) for hook in dict.fromkeys(self.hooks) for way in ways.get(hook, ())]
        return found

    @property
    def passed_hooks(self) -> tuple[Hook, ...]:
        """Those of the hooks that packets of the interfaces pass, each once."""
        return tuple(dict.fromkeys(hook for hook, _ in self.jumps))

    @property
    def where(self) -> str:
        """The interfaces and hooks in words, such as "packets of eth0", or "input packets of lo"."""
        named = "all interfaces" if ANY in self.interfaces else ", ".join(self.interfaces) or "all interfaces but lo"
        narrowed = "" if len(self.passed_hooks) == len(HOOKS) else f"{' and '.join(self.passed_hooks)} "
        return f"{narrowed}packets of {named}"

    @property
    def needs_ports(self) -> bool:
        """Only first fragments show whether they match, so the rules bring all later ones (`Core`, `pass_strays`)."""
        return bool(self.ports or self.filter)

    def check(self) -> None:
        """Make sure that a packet could match.

        Raises:
            UsageError: none ever could; there is no such interface or port.
        """
        names = [name for _, name in socket.if_nameindex()]
        # Some may come later; if none is there, that is rather a wrong name.
        if self.interfaces and not {ANY, *names}.intersection(self.interfaces):
            missing = " or ".join(f"'{name}'" for name in self.interfaces)
            raise UsageError(f"there is no interface {missing}; there are {', '.join(names)}")
        if not self.jumps:
            raise UsageError("packets on lo are never forwarded; name another --interface")
        if self.ports and self.protocol == "icmp":
            raise UsageError("ICMP has no ports; leave out --port or --protocol icmp")
        for port in self.ports:
            if not 0 < port < 65536:
                raise UsageError(f"{port} is not a port; ports are 1 to 65535")
        if not _families(self):
            given = [each for each in (self.source, self.destination, self.host) if each]
            raise UsageError(f"{' and '.join(given)} are addresses of different families")


class Rules(RuleSet):
    """The rules for one queue, or for several in a row.

    Among several the kernel chooses by a hash of both addresses, in either order, and for IPv4 the protocol, so that
    a connection has one queue. See hash_v4() and hash_v6() in include/net/netfilter/nf_queue.h.

    Args:
        match: which packets are shaped.
        queue: the number of the first queue that they go to.
        queues: how many there are.
        mark: of connections that have left the queue; 0 if none does.

    Raises:
        UsageError: there is no such interface, no such filter, or no packet could ever match.
        ShaperError: tcpdump, which translates filters, is missing.
    """

    def __init__(self, match: Match, queue: int, queues: int = 1, *, mark: int = 0) -> None:
        match.check()
        super().__init__(Owner.here(queue), {}, mark)
        template = files("shaper.iptables").joinpath("shaper.rules").read_text()
        filter = bytecode(match.filter) if match.filter else ""
        for family in iptables.families():
            if family not in _families(match):
                continue
            chains = []
            for name, first, ways in (
                (self.owner.chain, queue, [*_ways(match)]),
                (self.owner.output_chain, output_number(queue), [way for hook, way in match.jumps if hook == "output"]),
            ):
                last = first + queues - 1
                values = {
                    "chain": name,
                    "injected": f"{INJECT_MARK:#x}/{INJECT_MARK:#x}",
                    "owner": str(self.owner),
                    "queues": f"--queue-num {first}" if queues == 1 else f"--queue-balance {first}:{last}",
                }
                repeated = {
                    "left": [matching(mark)] if mark else [],
                    "exception": list(_exceptions(match, family)),
                    "match": list(_matches(match, family, filter)),
                    "first": [FIRST] if family == "ipv6" and match.needs_ports else [],
                    "later": list(_later_fragments(match, family)),
                    "group": list(_sent_on_lo(match)),
                    "hook": [f" {way}" for way in ways],
                }
                if ways:
                    chains.append(_fill(template, values, repeated))
            self._text[family] = "*mangle\n" + "".join(chains) + "COMMIT\n"


def _families(match: Match) -> set[Family]:
    """The families that all addresses allow."""
    families: set[Family] = {"ipv4", "ipv6"}
    for address in (match.source, match.destination, match.host):
        if address is None:
            continue
        try:
            version = ip_network(address, strict=False).version
        except ValueError:
            raise UsageError(f"'{address}' is not an IP address or network, such as 10.0.0.0/8 or ::1") from None
        families &= {"ipv4"} if version == 4 else {"ipv6"}
    return families


def _matches(match: Match, family: Family, filter: str) -> Iterator[str]:
    """What the rules that queue match, one item per rule; `filter` is byte code."""
    filters = [f' -m bpf --bytecode "{filter}"'] if filter else [""]
    if filter and family == "ipv6":
        filters.append(f'{FIRST} -m bpf --bytecode "{behind_fragment_header(filter)}"')
    groups = [f" {_group(match)}", f" -m mark --mark {MARKED}"] if match.cgroup is not None else [""]
    for part in _protocols(match, family):
        protocol = part.rpartition(" ")[2]
        ports = [f" -m {protocol} {side} {port}" for port in match.ports for side in SIDES] or [""]
        yield from (part + port + group + filter for port in ports for group in groups for filter in filters)
    for kind, number in match.served:
        if match.protocol in ("all", kind) and (not match.ports or number in match.ports):
            ports = [f" -p {kind} -m {kind} {side} {number}" for side in SIDES]
            yield from (end + port + filter for end in _ends(match) for port in ports for filter in filters)


def _group(match: Match) -> str:
    """What matches a packet whose socket is in the control group."""
    assert match.cgroup is not None
    escaped = match.cgroup.replace("\\", r"\\").replace('"', r"\"")
    return f'-m cgroup --path "{escaped}"'


def _sent_on_lo(match: Match) -> Iterator[str]:
    """Mark what the control group sends over lo; it is taken when it comes in."""
    if match.cgroup is not None and _takes_lo_in(match):
        yield f" -o lo {_group(match)} -j MARK --set-xmark {MARKED}"
        yield " -o lo -j RETURN"


def _ways(match: Match) -> Iterator[str]:
    """Where packets meet the chain, but for those on their way out."""
    yield from (way for hook, way in match.jumps if hook != "output")
    if match.cgroup is not None and _takes_lo_in(match):
        yield "OUTPUT -o lo"


def _takes_lo_in(match: Match) -> bool:
    return any(way in ("INPUT", "INPUT -i lo") for _, way in match.jumps)


def _protocols(match: Match, family: Family) -> Iterator[str]:
    """The part of `_matches` that holds for all fragments: addresses and protocol."""
    protocols = [""]
    if match.protocol != "all":
        protocols = [f" -p {'ipv6-icmp' if (match.protocol, family) == ('icmp', 'ipv6') else match.protocol}"]
    elif match.ports:
        protocols = [" -p tcp", " -p udp"]
    yield from (f"{end}{protocol}" for end in _ends(match) for protocol in protocols)


def _ends(match: Match) -> Iterator[str]:
    """The part about addresses."""
    ends = "".join(
        f" {flag} {ip_network(address, strict=False)}"
        for flag, address in (("-s", match.source), ("-d", match.destination))
        if address
    )
    hosts = [f" {flag} {ip_network(match.host, strict=False)}" for flag in ("-s", "-d")] if match.host else [""]
    yield from (f"{ends}{host}" for host in hosts)


def _later_fragments(match: Match, family: Family) -> Iterator[str]:
    """What the rules that queue later fragments match: all that may belong to a first one that matched.

    Those that don't are passed on at once by the core, which knows the first ones.
    """
    # The kernel reassembles IPv4 before the hook INPUT.
    if match.needs_ports and (family, match.passed_hooks) != ("ipv4", ("input",)):
        yield from (part + LATER[family] for part in _protocols(match, family))


def _exceptions(match: Match, family: Family) -> Iterator[str]:
    """What is never queued, whatever the match."""
    if family == "ipv6":
        for kind in NEIGHBOUR_DISCOVERY:
            yield f" -p ipv6-icmp -m icmp6 --icmpv6-type {kind}"
    yield from ssh.exceptions(match.ports, family)


def _fill(template: str, values: dict[str, str], repeated: dict[str, list[str]]) -> str:
    """The template with its values; a line with one of the words `repeated` is there once for each value of it."""
    lines = []
    for line in template.splitlines():
        word = next((word for word in repeated if f" ${word}" in line), None)
        lines += [line] if word is None else [line.replace(f" ${word}", value) for value in repeated[word]]
    return Template("\n".join(lines) + "\n").substitute(values)
