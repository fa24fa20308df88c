"""Which packets that go out are made anew, without their socket, and what they are then cut to."""

from __future__ import annotations

import pytest

from shaper.live.nfqueue.numbers import output_number
from shaper.live.nfqueue.output import ROOM, lengthening, own_length

V4 = bytes.fromhex("4500 0000 0000 4000 4006 0000 0a000001 0a000002")
V6 = bytes.fromhex("6000 0000 0000 0640") + bytes(32)


def packet(header: bytes, flags: int, payload: int, protocol: int = 6) -> bytes:
    """A packet with a TCP header of 32 bytes, whatever its protocol is."""
    rest = bytes(12) + bytes((0x80, flags)) + bytes(18) + bytes(payload)
    if header[0] >> 4 == 4:
        length = (len(header) + len(rest)).to_bytes(2)
        return header[:2] + length + header[4:9] + bytes((protocol,)) + header[10:] + rest
    return header[:4] + len(rest).to_bytes(2) + bytes((protocol,)) + header[7:] + rest


@pytest.mark.parametrize("header", [V4, V6])
def test_segments_with_payload_are_made_anew(header: bytes) -> None:
    data, ack, syn = packet(header, 0x18, 1000), packet(header, 0x10, 0), packet(header, 0x02, 0)
    # Longer by more than the kernel can have put by for it: memory comes in powers of two.
    assert lengthening(data) == len(data) + ROOM
    # These only have to take the same way, or they would overtake the data before them.
    assert lengthening(ack) == lengthening(packet(header, 0x11, 0)) == lengthening(packet(header, 0x04, 0)) == 1
    assert lengthening(syn) == lengthening(packet(header, 0x12, 0)) == lengthening(packet(header, 0x02, 500)) == 0
    assert lengthening(packet(header, 0x18, 1000, protocol=17)) == 0
    assert lengthening(data[: len(header) + 12]) == 0


@pytest.mark.parametrize("header", [V4, V6])
def test_the_length_is_that_of_the_header(header: bytes) -> None:
    data = packet(header, 0x18, 1000)
    assert own_length(data) == own_length(data + bytes(7)) == len(data)
    at = 2 if header is V4 else 4
    assert own_length(data[:at] + bytes(2) + data[at + 2 :]) == 0


def test_the_numbers_of_both_queues_differ() -> None:
    assert [output_number(queue) for queue in (0, 100, 0x7FFF, 0x8000, 0xFFFF)] == [32768, 32868, 0xFFFF, 0, 0x7FFF]
