"""The ends of a network: the hosts around its router, with their names and addresses.

The addresses are from the blocks for tests of network devices, which nobody has: RFC 2544 and RFC 5180.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Literal, NamedTuple

from shaper.errors import UsageError

Kind = Literal["private", "internet", "routed", "dumbbell"]
"""A network for commands: only lo; a way to the host's network; a server and a client, or several, and a router."""
Offload = Literal["on", "off"]

MOST_CLIENTS = 200
IPV4_PREFIX, IPV6_PREFIX = 24, 64  # of the network between an end and the router
BLOCKS = "198.19.0.0/16", "2001:2::/48"
"""All addresses of all ends."""
IPV6_MTU = 1280
"""The least with which there is IPv6, RFC 8200."""
LARGEST_MTU = 65535
"""Of veth(4); that of lo is a byte more."""


@dataclass(frozen=True)
class End:
    """A host on a network of its own with the router.

    Attributes:
        name: it resolves to its addresses.
        number: of its network, 1 to 255; 0 is the one beyond the end that leads outside.
    """

    name: str
    number: int

    @property
    def ipv4(self) -> str:
        """Its address."""
        return ipv4(self.number, 2)

    @property
    def ipv6(self) -> str:
        """Its other address."""
        return ipv6(self.number, 2)

    @property
    def routers(self) -> tuple[str, str]:
        """The router's addresses in the same network, of IPv4 and of IPv6."""
        return ipv4(self.number, 1), ipv6(self.number, 1)


def ipv4(network: int, host: int) -> str:
    """An address."""
    return f"198.19.{network}.{host}"


def ipv6(network: int, host: int) -> str:
    """An address."""
    return f"2001:2:0:{network:x}::{host:x}"


OUTSIDE = "outside"
"""The end that leads to the host's network; no command runs there."""


def ends_of(kind: Kind, clients: int = 1) -> tuple[End, ...]:
    """The ends of a network, first the one behind the bottleneck; none if there is only lo.

    Raises:
        UsageError: too many clients, or several where there can be only one.
    """
    if kind == "private":
        return ()
    if clients != 1 and kind != "dumbbell":
        raise UsageError("--clients needs --network dumbbell")
    if not 1 <= clients <= MOST_CLIENTS:
        raise UsageError(f"--clients: give a number from 1 to {MOST_CLIENTS}")
    names = [
        OUTSIDE if kind == "internet" else "server",
        "client",
        *(f"client{number}" for number in range(2, clients + 1)),
    ]
    return tuple(End(name, number) for number, name in enumerate(names, 1))


def variables(ends: Iterable[End], *, has_ipv6: bool) -> dict[str, str]:
    """What a command finds in its environment: SHAPER_SERVER, SHAPER_SERVER_IPV6 and so on."""
    found = {}
    for end in ends:
        found[f"SHAPER_{end.name.upper()}"] = end.ipv4
        if has_ipv6:
            found[f"SHAPER_{end.name.upper()}_IPV6"] = end.ipv6
    return found


def hosts(names: Iterable[tuple[str, str]], text: str) -> str:
    """The text of a hosts(5) with these addresses and names before what was there."""
    return "".join(f"{address}\t{name}\n" for address, name in names) + text


def name_servers(text: str, replacements: tuple[str, str]) -> str:
    """The text of a resolv.conf(5) in which a name server on lo is replaced, because lo is another one inside.

    Args:
        replacements: what reaches it from there, by IPv4 and by IPv6.
    """
    lines = []
    for line in text.splitlines():
        words = line.split()
        if words[:1] == ["nameserver"] and len(words) > 1:
            with suppress(ValueError):
                address = ip_address(words[1].partition("%")[0])
                if address.is_loopback or address.is_unspecified:
                    line = f"nameserver {replacements[address.version == 6]}"
        lines.append(line)
    return "".join(f"{line}\n" for line in dict.fromkeys(lines))


@dataclass(frozen=True)
class CommandAt:
    """A command, and the end at which it runs."""

    end: str
    command: tuple[str, ...]


def by_role(placed: Sequence[CommandAt]) -> tuple[list[CommandAt], list[CommandAt]]:
    """The commands that the run ends, and those that decide how long it takes: the clients', else the last one."""
    clients = [place for place in placed if place.end.startswith("client")]
    servers = [place for place in placed if not place.end.startswith("client")]
    return (servers, clients) if clients else (servers[:-1], servers[-1:])


def commands_at(words: Sequence[str], at: str | None, ends: Sequence[End]) -> tuple[CommandAt, ...]:
    """The commands of a command line such as `--at server -- COMMAND --at client -- COMMAND`.

    Args:
        words: what comes after the first `--`.
        at: the value of the first --at; None if it was not given: then the command is a client's.
        ends: of the network; none if there is only lo.

    Raises:
        UsageError: there is no such end, or no command for one.
    """
    names = [end.name for end in ends if end.name != OUTSIDE]
    parts: list[tuple[str, list[str]]] = [(at or "client", [])]
    rest = list(words)
    while rest:
        if rest[0] == "--at" and rest[2:3] == ["--"]:
            parts.append((rest[1], []))
            del rest[:3]
        else:
            parts[-1][1].append(rest.pop(0))
    if (at is not None or len(parts) > 1) and "server" not in names:
        raise UsageError("--at needs --network routed or dumbbell")
    for name, command in parts:
        if names and name not in names:
            raise UsageError(f"--at: there is no '{name}' in this network; there are {', '.join(names)}")
        if not command:
            raise UsageError(f"Missing argument 'COMMAND' for --at {name}; see `shaper run --help`")
    return tuple(CommandAt(name, tuple(command)) for name, command in parts)


class Published(NamedTuple):
    """A port of the host, and the one inside that it leads to."""

    protocol: str
    outside: int
    inside: int


def published(text: str) -> Published:
    """What `--publish 8080:80/udp` means.

    Raises:
        UsageError: it means nothing.
    """
    numbers, _, protocol = text.partition("/")
    outside, colon, inside = numbers.partition(":")
    found = [int(each) if each.isdecimal() else 0 for each in (outside, inside if colon else outside)]
    if protocol not in ("", "tcp", "udp") or not all(0 < each < 65536 for each in found):
        raise UsageError(f"--publish: '{text}' is not a port of the host and one inside, such as 8080:80 or 53:53/udp")
    return Published(protocol or "tcp", *found)
