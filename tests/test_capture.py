"""Captures: times exact to the ns, every link type we know, and files that are cut off."""

import io
import shutil
import struct
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shaper.capture import CaptureError, CaptureWriter, read_capture
from shaper.capture.frames import read_frames
from shaper.capture.source import Source
from shaper.core.core import Core
from shaper.core.verdict import Verdict
from shaper.policy.action import Drop, Send
from shaper.policy.base import Answer, Policy
from shaper.units import ms
from shaper.wire.packet import Packet
from tests.captures import EPOCH, UDP, UDP6, frames, ip_of, pcap


def block(kind: int, body: bytes, order: str = "<") -> bytes:
    return struct.pack(order + "II", kind, len(body) + 12) + body + struct.pack(order + "I", len(body) + 12)


def section(order: str = "<") -> bytes:
    return block(0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1), order)


def interface(link: int = 101, resolution: int | None = None, offset: int | None = None, order: str = "<") -> bytes:
    body = struct.pack(order + "HHI", link, 0, 0)
    if resolution is not None:
        body += struct.pack(order + "HHB3x", 9, 1, resolution)
    if offset is not None:
        body += struct.pack(order + "HHq", 14, 8, offset)
    return block(1, body + bytes(4), order)


def enhanced(ticks: int, data: bytes, index: int = 0, order: str = "<") -> bytes:
    head = struct.pack(order + "IIIII", index, ticks >> 32, ticks & 0xFFFFFFFF, len(data), len(data))
    return block(6, head + data + bytes(-len(data) % 4), order)


def packets(tmp_path: Path, data: bytes) -> list[Packet]:
    file = tmp_path / "in.pcap"
    file.write_bytes(data)
    return list(read_capture(file))


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_pcap_is_read_to_the_ns(tmp_path: Path, order: str) -> None:
    (packet,) = packets(tmp_path, pcap([(EPOCH, UDP)], order=order))
    assert (packet.raw, packet.arrived, packet.taken, packet.id) == (UDP, EPOCH, EPOCH, 1)


def test_a_microsecond_pcap_is_read_to_the_us(tmp_path: Path) -> None:
    (packet,) = packets(tmp_path, pcap([(EPOCH, UDP)], nano=False))
    assert packet.arrived == EPOCH // 1000 * 1000


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_pcapng_is_read_with_every_interface_s_own_clock(tmp_path: Path, order: str) -> None:
    data = (
        section(order)
        + interface(order=order)  # us
        + interface(resolution=9, order=order)
        + interface(resolution=0x80 | 10, offset=1_700_000_000, order=order)  # 1/1024 s
        + block(5, bytes(12), order)  # statistics, of no interest
        + enhanced(EPOCH // 1000, UDP, 0, order)
        + enhanced(EPOCH, UDP, 1, order)
        + enhanced(1024 + 1, UDP, 2, order)
    )
    assert [packet.arrived for packet in packets(tmp_path, data)] == [
        EPOCH // 1000 * 1000,
        EPOCH,
        1_700_000_001 * 10**9 + 10**9 // 1024,
    ]


def test_each_section_has_interfaces_of_its_own(tmp_path: Path) -> None:
    data = section() + interface(resolution=9) + enhanced(EPOCH, UDP)
    data += section(">") + interface(order=">") + enhanced(EPOCH // 1000, UDP, order=">")
    assert [packet.arrived for packet in packets(tmp_path, data)] == [EPOCH, EPOCH // 1000 * 1000]


@pytest.mark.parametrize(
    ("link", "header"),
    [
        (101, b""),
        (228, b""),
        (0, b"\x02\0\0\0"),
        (108, b"\0\0\0\x02"),
        (1, bytes(12) + b"\x08\x00"),
        (1, bytes(12) + b"\x81\x00\0\x05\x08\x00"),
        (1, bytes(12) + b"\x88\xa8\0\x05\x81\x00\0\x06\x08\x00"),
        (113, bytes(14) + b"\x08\x00"),
        (276, b"\x08\x00" + bytes(18)),
    ],
)
def test_link_headers_are_removed(tmp_path: Path, link: int, header: bytes) -> None:
    padding = b"\0" * 18 if link == 1 else b""
    (packet,) = packets(tmp_path, pcap([(EPOCH, header + UDP + padding)], link))
    assert packet.raw == UDP


@pytest.mark.parametrize(("link", "header"), [(1, bytes(12) + b"\x86\xdd"), (276, b"\x86\xdd" + bytes(18)), (229, b"")])
def test_ipv6_is_found_after_link_headers(tmp_path: Path, link: int, header: bytes) -> None:
    (packet,) = packets(tmp_path, pcap([(EPOCH, header + UDP6)], link))
    assert packet.raw == UDP6


def test_frames_without_ip_are_left_out_but_counted(tmp_path: Path) -> None:
    arp, ip = bytes(12) + b"\x08\x06" + bytes(28), bytes(12) + b"\x08\x00" + UDP
    assert [packet.id for packet in packets(tmp_path, pcap([(1, arp), (2, ip), (3, b""), (4, ip)], 1))] == [2, 4]


def test_a_packet_cut_by_the_snap_length_keeps_its_full_length(tmp_path: Path) -> None:
    (packet,) = packets(tmp_path, pcap([(EPOCH, UDP[:24])]))
    assert packet.truncated
    assert packet.length == len(UDP)


ONE_PCAP = pcap([(1, UDP)])
ONE_PCAPNG = section() + interface() + enhanced(1, UDP)


@pytest.mark.parametrize(("whole", "more"), [(ONE_PCAP, ONE_PCAP[24:]), (ONE_PCAPNG, enhanced(2, UDP))])
def test_a_cut_file_gives_its_whole_packets_and_then_an_error(tmp_path: Path, whole: bytes, more: bytes) -> None:
    file = tmp_path / "cut.pcap"
    for end in range(1, len(more)):
        file.write_bytes(whole + more[:end])
        capture = read_capture(file)
        assert next(capture).raw == UDP
        with pytest.raises(CaptureError, match=r"is cut off after frame 1; only the frames up to there were used$"):
            next(capture)


def test_a_file_that_is_no_capture_gives_an_error(tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match=r"in\.pcap is neither a pcap nor a pcapng file$"):
        packets(tmp_path, b"hello, world")


@settings(deadline=None)
@given(st.sampled_from([b"\x0a\x0d\x0d\x0a", b"\xd4\xc3\xb2\xa1", section(), section() + interface()]), st.binary())
def test_junk_gives_frames_or_one_line(start: bytes, junk: bytes) -> None:
    # Every other error would come through.
    with suppress(CaptureError):
        list(read_frames(Source(io.BytesIO(start + junk), "junk")))


class Three(Policy):
    """Drops the first, sends the second twice, holds the third 1.5 ms."""

    def on_packet(self, packet: Packet, now: int) -> Answer:
        if packet.id == 1:
            return Drop(packet)
        if packet.id == 2:
            return Send(packet), Send(packet, now + 20 * ms)
        return Send(packet, now + 3 * ms // 2)


def shaped(file: Path, interfaces: tuple[str, ...]) -> None:
    core = Core([Three()])
    writer = CaptureWriter(file, interfaces=interfaces)
    for number in (1, 2, 3):
        packet = Packet(UDP, number, EPOCH + number)
        writer.arrived(packet)
        core.receive(packet, packet.arrived)
    for verdict in core.due(EPOCH + 1000 * ms):
        writer.verdict(verdict, verdict.planned)
    writer.close()


def test_what_is_written_is_read_to_the_ns(tmp_path: Path) -> None:
    file = tmp_path / "out.pcapng"
    shaped(file, ("arrived", "sent", "dropped"))
    found = [(ip_of(frame), frame.at - EPOCH) for frame in frames(file)]
    # Arrivals, the drop, and what was sent.
    assert found == [(UDP, at) for at in (1, 2, 3, 1, 2, 3 + 3 * ms // 2, 2 + 20 * ms)]


@pytest.mark.skipif(shutil.which("tcpdump") is None, reason="no tcpdump here: apt install tcpdump")
@pytest.mark.parametrize("interfaces", [("sent",), ("arrived", "sent", "dropped")])
def test_tcpdump_reads_it(tmp_path: Path, interfaces: tuple[str, ...]) -> None:
    file = tmp_path / "out.pcapng"
    with CaptureWriter(file, interfaces=interfaces) as writer:
        for raw in (UDP, UDP6):
            writer.verdict(Verdict(Packet(raw, 1, EPOCH), "sent", EPOCH), EPOCH)
    shown = subprocess.run(
        ["tcpdump", "-Z", "root", "-n", "-t", "-r", file], capture_output=True, text=True, check=True
    ).stdout
    assert [line.split()[0] for line in shown.splitlines()] == ["IP", "IP6"]
    assert "UDP" in shown


def test_only_the_interfaces_asked_for_are_written(tmp_path: Path) -> None:
    file = tmp_path / "out.pcapng"
    shaped(file, ("sent",))
    assert [packet.arrived - EPOCH for packet in read_capture(file)] == [2, 3 + 3 * ms // 2, 2 + 20 * ms]


def test_comments_say_what_happened(tmp_path: Path) -> None:
    file = tmp_path / "out.pcapng"
    shaped(file, ("sent", "dropped"))
    data = file.read_bytes()
    for text in (b"dropped by test_capture", b"held 1.5 ms by test_capture", b"injected by test_capture"):
        assert struct.pack("<HH", 1, len(data[data.index(text) :].split(b"\0")[0])) + text in data
