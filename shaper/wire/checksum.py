"""The Internet checksum (RFC 1071), and right lengths and checksums for a packet whose bytes were changed."""

from struct import pack_into

from shaper.wire.header import ICMP, ICMPV6, TCP, UDP, jumbo_length, read_ip

LONGEST = 0xFFFF
# Where the checksum is in each transport header.
OFFSETS = {ICMP: 2, TCP: 16, UDP: 6, ICMPV6: 2}


def checksum(data: bytes) -> int:
    """The Internet checksum of these bytes (RFC 1071); 0 for data that holds its own right checksum."""
    if len(data) % 2:
        data += b"\0"
    # Ones' complement addition is addition modulo 65535 (RFC 1071, section 2).
    return 0xFFFF - (int.from_bytes(data) % 0xFFFF or (0xFFFF if any(data) else 0))


def put_right(raw: bytes) -> bytes:
    """The packet with right lengths (IPv4 total, IPv6 payload, UDP) and checksums (IPv4, TCP, UDP, ICMP).

    The transport checksum of a fragment stays as it is: it covers the whole datagram. A length of more than 65,535
    bytes becomes 0, as Linux has it in packets that it has not cut yet ("BIG TCP"), and as RFC 2675 has it.
    """
    fixed = bytearray(raw)
    ip = read_ip(raw)
    if ip.version == 4:
        header = (raw[0] & 15) * 4
        pack_into("!H", fixed, 2, _field(len(raw)))
        pack_into("!H", fixed, 10, 0)
        pack_into("!H", fixed, 10, checksum(bytes(fixed[:header])))
    elif ip.version == 6:
        payload = len(raw) - 40
        if (jumbo := jumbo_length(raw)) and payload > LONGEST:
            pack_into("!I", fixed, jumbo, payload)
        pack_into("!H", fixed, 4, _field(payload))
    at = OFFSETS.get(ip.protocol, 0) + ip.transport
    if ip.protocol not in OFFSETS or ip.transport < 0 or ip.fragment or at + 2 > len(raw):
        return bytes(fixed)
    length = len(raw) - ip.transport
    if ip.protocol == UDP:
        pack_into("!H", fixed, ip.transport + 4, _field(length))
    pseudo = b"" if ip.protocol == ICMP else ip.source + ip.destination + length.to_bytes(4) + ip.protocol.to_bytes(4)
    pack_into("!H", fixed, at, 0)
    value = checksum(pseudo + bytes(fixed[ip.transport :]))
    # A UDP checksum that comes out as zero is sent as all ones (RFC 768).
    pack_into("!H", fixed, at, 0xFFFF if ip.protocol == UDP and value == 0 else value)
    return bytes(fixed)


def _field(length: int) -> int:
    """A length as a field of 16 bits has it."""
    return length if length <= LONGEST else 0


def completed(raw: bytes) -> bytes:
    """The packet with its checksum, if the sender's kernel left that to the device.

    The checksum's field then holds the sum of the pseudo-header alone: CHECKSUM_PARTIAL in linux/skbuff.h.
    """
    ip = read_ip(raw)
    if ip.protocol not in (TCP, UDP) or ip.transport < 0 or ip.fragment:
        return raw
    at = ip.transport + OFFSETS[ip.protocol]
    pseudo = int.from_bytes(ip.source) + int.from_bytes(ip.destination) + len(raw) - ip.transport + ip.protocol
    is_left = int.from_bytes(raw[at : at + 2]) == (pseudo % 0xFFFF or 0xFFFF)
    return put_right(raw) if is_left else raw
