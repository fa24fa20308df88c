"""Addresses and ports as connection tracking knows them, and a packet with others, as NAT makes it.

Source: net/netfilter/nf_conntrack_proto_icmp.c and nf_conntrack_proto_icmpv6.c (which ICMP messages have a tuple);
RFC 1624 (a checksum follows a change of what it covers).
"""

from __future__ import annotations

from typing import Final, NamedTuple

from shaper.wire.checksum import OFFSETS
from shaper.wire.header import ICMP, ICMPV6, UDP, WITH_PORTS, read_ip, read_ports

QUERIES: Final = {
    ICMP: {8: 0, 0: 8, 13: 14, 14: 13, 15: 16, 16: 15, 17: 18, 18: 17},
    ICMPV6: {128: 129, 129: 128},
}
"""ICMP's questions and answers, by type, with the type of what goes the other way."""
# Where the checksum is in each transport header that can be readdressed; 33 and 136 are DCCP and UDP-Lite.
CHECKSUMS: Final = {**OFFSETS, 33: 6, 136: 6}


class ConnTuple(NamedTuple):
    """A nf_conntrack_tuple: what connection tracking knows one direction of a connection by.

    In place of ports, an ICMP question or answer has its identifier as `sport`, and its type and code as `dport`.
    Both are 0 for protocols without ports.
    """

    protocol: int
    source: bytes
    sport: int
    destination: bytes
    dport: int

    @classmethod
    def of(cls, raw: bytes) -> ConnTuple | None:
        """The tuple of a packet; None for fragments, ICMP errors and what is no IP packet."""
        ip = read_ip(raw)
        if not ip.version or ip.fragment:
            return None
        protocol, at = ip.protocol, ip.transport
        if protocol in QUERIES:
            if not 0 <= at <= len(raw) - 6 or raw[at] not in QUERIES[protocol]:
                return None
            sport, dport = int.from_bytes(raw[at + 4 : at + 6]), int.from_bytes(raw[at : at + 2])
        else:
            sport, dport = read_ports(raw, ip)
        return cls(protocol, ip.source, sport, ip.destination, dport)

    @property
    def inverse(self) -> ConnTuple:
        """The tuple of an answer to such a packet."""
        if self.protocol in QUERIES:
            kind, code = divmod(self.dport, 256)
            dport = QUERIES[self.protocol].get(kind, kind) << 8 | code
            return ConnTuple(self.protocol, self.destination, self.sport, self.source, dport)
        return ConnTuple(self.protocol, self.destination, self.dport, self.source, self.sport)


def readdressed(raw: bytes, to: ConnTuple) -> bytes:
    """The packet with the addresses and ports, or the identifier, of this tuple of the same protocol.

    Checksums follow the change: a wrong one stays as wrong as it was. SCTP's covers no addresses, so with other
    ports it is wrong.
    """
    ip = read_ip(raw)
    changed, at = bytearray(raw), ip.transport
    addresses = ip.source + ip.destination, to.source + to.destination
    if ip.version == 4:
        changed[12:20] = addresses[1]
        changed[10:12] = _followed(raw[10:12], *addresses)
    else:
        changed[8:40] = addresses[1]
    is_query = ip.protocol in QUERIES
    if not is_query and ip.protocol not in WITH_PORTS:
        return bytes(changed)
    ports = slice(at + 4, at + 6) if is_query else slice(at, at + 4)
    changed[ports] = to.sport.to_bytes(2) if is_query else to.sport.to_bytes(2) + to.dport.to_bytes(2)
    field = CHECKSUMS.get(ip.protocol)
    if field is not None and at + field + 2 <= len(raw):
        where = slice(at + field, at + field + 2)
        before, after = (b"", b"") if ip.protocol == ICMP else addresses
        is_left_out = ip.protocol == UDP and not any(raw[where])
        if not is_left_out:
            changed[where] = _followed(raw[where], before + raw[ports], after + changed[ports])
    return bytes(changed)


def _followed(field: bytes, before: bytes, after: bytes) -> bytes:
    """A checksum after these bytes that it covers were replaced (RFC 1624, equation 3); never 0, see RFC 768."""
    value = 0xFFFF - int.from_bytes(field) - int.from_bytes(before) + int.from_bytes(after)
    return (0xFFFF - value % 0xFFFF).to_bytes(2)
