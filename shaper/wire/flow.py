"""Flow: which packets belong together; and the ends of flows as text."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import NamedTuple

from shaper.wire.header import ANSWER, ICMP, ICMPV6, PROTOCOLS, REQUEST, flow_key, split_key

FLOW = re.compile(rf"({'|'.join(PROTOCOLS.values())}|[0-9]{{1,3}}) (\S+) > (\S+)")
END = re.compile(r"(?:\[(.+)\]|([^:]+)):([0-9]{1,5})")


class Flow(NamedTuple):
    """A 5-tuple: the packets of one direction of a connection. Ports are 0 where there are none.

    The identifier of an ICMP query is the port of the end that asks: "icmp 192.0.2.1:7 > 192.0.2.9" is the flow of the
    requests, "icmp 192.0.2.9 > 192.0.2.1:7" that of the answers. An identifier of 0 doesn't show.
    """

    protocol: str
    source: str
    sport: int
    destination: str
    dport: int

    @classmethod
    def of(cls, raw: bytes) -> Flow:
        """The flow of a packet, whose bytes begin with its IP header; "other", without addresses, if it has none."""
        return cls.of_key(flow_key(raw))

    @classmethod
    def of_key(cls, key: bytes) -> Flow:
        """The flow of the packets for which `shaper.wire.header.flow_key` returns this."""
        source, destination, ends = split_key(key)
        if not source:
            return NOT_IP
        if len(ends) == 3:
            ends = ends[1:] + b"\0\0" if ends[:1] == REQUEST else b"\0\0" + ends[1:]
        sport, dport = int.from_bytes(ends[:2]), int.from_bytes(ends[2:])
        protocol = PROTOCOLS.get(key[0], str(key[0]))
        return cls(protocol, str(ip_address(source)), sport, str(ip_address(destination)), dport)

    @classmethod
    def parse(cls, text: str) -> Flow:
        """A flow as `str` writes it: "tcp 127.0.0.1:40000 > [::1]:8765".

        Raises:
            ValueError: the text is not a flow.
        """
        if text == str(NOT_IP):
            return NOT_IP
        match = FLOW.fullmatch(text)
        if match is None or (match[1].isdigit() and int(match[1]) > 255):
            raise ValueError(f"'{text}' is no flow, such as tcp 127.0.0.1:40000 > 127.0.0.1:8765")
        return cls(match[1], *parse_end(match[2]), *parse_end(match[3]))

    @property
    def key(self) -> bytes:
        """What `shaper.wire.header.flow_key` returns for its packets, except for ICMP queries with identifier 0."""
        number = next((number for number, name in PROTOCOLS.items() if name == self.protocol), None)
        key = bytes((int(self.protocol) if number is None else number,))
        key += ip_address(self.source).packed + ip_address(self.destination).packed
        if not self.sport and not self.dport:
            return key
        if number in (ICMP, ICMPV6):
            return key + (REQUEST + self.sport.to_bytes(2) if self.sport else ANSWER + self.dport.to_bytes(2))
        return key + self.sport.to_bytes(2) + self.dport.to_bytes(2)

    @property
    def reverse(self) -> Flow:
        """The flow of the other direction."""
        return Flow(self.protocol, self.destination, self.dport, self.source, self.sport)

    def __str__(self) -> str:
        return f"{self.protocol} {format_end(self.source, self.sport)} > {format_end(self.destination, self.dport)}"


NOT_IP = Flow("other", "", 0, "", 0)
"""The flow of bytes that are no IP packet."""


def format_end(address: str, port: int) -> str:
    """One end of a flow: "192.0.2.1:80", "[2001:db8::1]:80"; the address alone where the port is 0."""
    if not port:
        return address
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def parse_end(text: str) -> tuple[str, int]:
    """Address and port, from text that `format_end` writes; the port is 0 where there is none.

    Raises:
        ValueError: the text is not an address, or the port is above 65535.
    """
    match = END.fullmatch(text)
    address, port = (match[1] or match[2], int(match[3])) if match else (text, 0)
    try:
        if port < 1 << 16:
            return str(ip_address(address)), port
    except ValueError:
        pass
    raise ValueError(f"'{text}' is not ADDRESS, ADDRESS:PORT or [ADDRESS]:PORT")
