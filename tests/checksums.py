"""Whether the checksums of a packet inside a frame are right, found by other code than shaper's.

Sources: RFC 1071 (the sum), RFC 791, RFC 8200, RFC 9293, RFC 768, RFC 792, RFC 4443.
"""

from __future__ import annotations

from struct import pack, unpack_from

ICMP, TCP, UDP, ICMPV6 = 1, 6, 17, 58
SUM_AT = {ICMP: 2, TCP: 16, UDP: 6, ICMPV6: 2}
EXTENSIONS = (0, 43, 60)
"""IPv6's extension headers that have their length in their second byte, and may precede any other."""
FARTHEST = 256
"""The most bytes of headers that are looked at before an IP header."""


def are_right(frame: bytes, changed: int | None = None) -> bool:
    """Whether some IP packet in this frame has right checksums, those of its TCP, UDP or ICMP included.

    A length of 0 is that of a packet above 65,535 bytes, which reaches to the end (as for BIG TCP and RFC 2675).

    Args:
        frame: from its link-layer header on, whatever that is.
        changed: where the first byte is that a policy changed; the packet must contain it. None: anywhere.
    """
    last = len(frame) if changed is None else changed + 1
    return any(_are_right_from(frame, at, changed) for at in range(min(last, FARTHEST)))


def _are_right_from(frame: bytes, at: int, changed: int | None) -> bool:
    version = frame[at] >> 4
    if version == 4 and at + 20 <= len(frame):
        header = (frame[at] & 15) * 4
        length, fragment = unpack_from("!HxxH", frame, at + 2)
        end, protocol = at + length if length else len(frame), frame[at + 9]
        transport = at + header
        if header < 20 or not transport <= end <= len(frame) or sum16(frame[at:transport]) != 0xFFFF:
            return False
        if fragment & 0x3FFF:
            return True
        addresses = frame[at + 12 : at + 20]
    elif version == 6 and at + 40 <= len(frame):
        length, protocol = unpack_from("!HB", frame, at + 4)
        transport, end = at + 40, at + 40 + length if length else len(frame)
        if end > len(frame):
            return False
        addresses = frame[at + 8 : at + 40]
        while protocol in EXTENSIONS and transport + 8 <= end:
            protocol, transport = frame[transport], transport + 8 + 8 * frame[transport + 1]
    else:
        return False
    if (changed is not None and changed >= end) or protocol not in SUM_AT or transport + SUM_AT[protocol] + 2 > end:
        return False
    content = frame[transport:end]
    if protocol == UDP and version == 4 and content[6:8] == b"\0\0":
        return True
    pseudo = b"" if protocol == ICMP else addresses + pack("!II", len(content), protocol)
    return sum16(pseudo + content) == 0xFFFF


def sum16(data: bytes) -> int:
    """The sum of RFC 1071 over these bytes, checksum included; 0xffff if that is right."""
    data += b"\0" * (len(data) % 2)
    total: int = sum(unpack_from(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total
