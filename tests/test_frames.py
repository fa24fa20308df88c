"""Frames of captures: each is in the output of a replay, and IP is found in all that can carry it."""

import bz2
import gzip
import io
import json
import lzma
import struct
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shaper.capture import Capture, CaptureError, read_capture
from shaper.capture.frames import Frame, read_frames
from shaper.capture.link import link_type
from shaper.capture.source import STRANGERS, Source
from shaper.cli import main
from shaper.core.core import Core
from shaper.core.verdict import Verdict
from shaper.core.virtual import play
from shaper.timeline.packet_spec import Ends, PacketSpec, bytes_of
from shaper.units import ms, s
from shaper.wire.checksum import put_right
from shaper.wire.header import ACK
from tests.captures import EPOCH, UDP, UDP6, frames, ip_of, pcap
from tests.examples import examples
from tests.test_capture import block, enhanced, interface, section

DATA = Path(__file__).parent / "data" / "captures"
MAC = bytes.fromhex("020000000001020000000002")
ARP = MAC + b"\x08\x06" + bytes(28)
SNAP = b"\xaa\xaa\x03\0\0\0"


def seen(path: Path) -> list[tuple[int, int, bytes, int]]:
    """What must be equal in a capture and in what pass_through makes of it."""
    return [(frame.at, frame.interface.link.number, frame.data, frame.length) for frame in frames(path)]


def shaped(path: Path, *arguments: str) -> list[tuple[int, int, bytes, int]]:
    """The frames in the output of a replay."""
    out = path.with_name("out.pcapng")
    assert main(["replay", str(path), *arguments, "-o", str(out)]) == 0
    return seen(out)


def copied(name: str, tmp_path: Path) -> Path:
    path = tmp_path / name
    path.write_bytes((DATA / name).read_bytes())
    return path


@pytest.mark.parametrize("file", sorted(DATA.iterdir()), ids=lambda file: file.name)
def test_a_capture_that_passes_through_is_the_same(file: Path, tmp_path: Path) -> None:
    path = copied(file.name, tmp_path)
    assert shaped(path, "--policy", "pass_through") == seen(path)


# Times that go back.


@pytest.mark.parametrize("name", ["back_far.pcap", "back_near.pcap", "two_if_order.pcapng", "y2600.pcapng"])
def test_each_packet_is_held_from_when_it_was_taken(name: str, tmp_path: Path) -> None:
    path, journal = copied(name, tmp_path), tmp_path / "journal"
    before = seen(path)
    after = shaped(path, "--policy", "delay:time=10ms", f"--journal={journal}")
    assert after == [(at + 10 * ms, *rest) for at, *rest in before]
    # `read_journal` takes no times of the year 2600.
    lines = [json.loads(line) for line in journal.read_text().splitlines()[1:]]
    assert [(line["arrived_ns"], line["planned_ns"]) for line in lines] == [(at, at + 10 * ms) for at, *_ in before]


def test_a_line_says_how_many_stamps_go_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "json"
    for name in ("back_far.pcap", "back_near.pcap", "pppoe.pcap"):
        assert main(["replay", str(DATA / name), "--policy", "pass_through", f"--json={out}"]) == 0
    text = capsys.readouterr().out
    assert "1 time stamp goes back, by 50s at most" in text
    assert "1 time stamp goes back, by 5s at most" in text
    assert text.count("back") == 2
    assert json.loads(out.read_text())["went_back"] == 0


def test_a_clock_that_was_set_does_not_put_all_that_follows_at_one_time(tmp_path: Path) -> None:
    file = tmp_path / "in.pcapng"
    times = [5 * s, 10**9 * s, 6 * s, 7 * s, 8 * s]
    file.write_bytes(pcap([(at, UDP) for at in times]))
    assert [at for at, *_ in shaped(file, "--policy", "spread_burst:gap=100ms")] == [
        # The first one after that comes at the same time as the one before.
        *times[:2],
        times[2] + 100 * ms,
        *times[3:],
    ]


@pytest.mark.parametrize("year", [-200, -0.001, 0, 100, 146, 292, 400, 584, 585, 2000])
def test_times_of_any_year_are_kept(year: float, tmp_path: Path) -> None:
    file = tmp_path / "in.pcapng"
    seconds = int(year * 31_557_600)
    file.write_bytes(section() + interface(resolution=9, offset=seconds) + enhanced(7, UDP) + enhanced(ms, ARP))
    assert [at for at, *_ in seen(file)] == [seconds * s + 7, seconds * s + ms]
    assert [at for at, *_ in shaped(file, "--policy", "pass_through")] == [seconds * s + 7, seconds * s + ms]
    assert [at for at, *_ in shaped(file, "--policy", "delay:5ms")] == [seconds * s + ms, seconds * s + 5 * ms + 7]


def test_copies_and_new_packets_go_by_the_clock_of_the_others(tmp_path: Path) -> None:
    file = tmp_path / "in.pcap"
    file.write_bytes(pcap([(100 * s, UDP), (50 * s, UDP)]))
    found = shaped(file, "--policy", "duplicate:probability=100%", "--policy", "delay:1ms")
    assert [at for at, *_ in found] == [100 * s + ms] * 2 + [50 * s + ms] * 2


# What is around IP.

PPP = b"\0\x21"
WIRELESS = b"\x08\x02\0\0" + bytes(20)
HEADERS: list[tuple[str, int, bytes, bytes]] = [
    ("VLAN", 1, MAC + b"\x81\0\0\5\x08\0", b""),
    ("QinQ", 1, MAC + b"\x88\xa8\0\5\x81\0\0\6\x08\0", b""),
    ("six tags", 1, MAC + b"\x91\0\0\1" + b"\x81\0\0\2" * 5 + b"\x08\0", b""),
    ("802.1CB", 1, MAC + b"\xf1\xc1\0\0\0\1\x08\0", b""),
    ("MPLS", 1, MAC + b"\x88\x47\0\x06\x40\x40\0\x06\x51\x40", b""),
    ("pseudo-wire", 1, MAC + b"\x88\x47\0\x06\x41\x40\0\0\0\0" + MAC + b"\x08\0", b""),
    ("pseudo-wire without a control word", 1, MAC + b"\x88\x47\0\x06\x41\x40" + MAC + b"\x81\0\0\5\x08\0", b""),
    ("FabricPath", 1, MAC + b"\x89\3\0\x20" + MAC + b"\x08\0", b""),
    ("MAC in MAC", 1, MAC + b"\x88\xe7\0\0\0\1" + MAC + b"\x08\0", b""),
    ("MACsec, not encrypted", 1, MAC + b"\x88\xe5\x20\0\0\0\0\1" + bytes(8) + b"\x08\0", bytes(16)),
    ("802.3", 1, MAC + b"\0\x26" + SNAP + b"\x08\0", b""),
    ("802.3 with padding", 1, MAC + b"\0\x26" + SNAP + b"\x08\0", bytes(9)),
    ("802.2", 1, MAC + b"\0\x21\x06\x06\x03", b""),
    ("PPPoE", 1, MAC + b"\x88\x64\x11\0\0\1\0\x20" + PPP, bytes(3)),
    ("PPPoE in a VLAN", 1, MAC + b"\x81\0\0\5\x88\x64\x11\0\0\1\0\x20" + PPP, b""),
    ("BSD loopback, little-endian", 0, b"\2\0\0\0", b""),
    ("BSD loopback, big-endian", 0, b"\0\0\0\2", b""),
    ("token ring", 6, b"\x10\x40" + MAC + SNAP + b"\x08\0", b""),
    ("token ring with a route", 6, b"\x10\x40" + MAC[:6] + b"\x82" + MAC[7:] + b"\6\0\1\2\3\4" + SNAP + b"\x08\0", b""),
    ("SLIP", 8, bytes(16), b""),
    ("PPP", 9, PPP, b""),
    ("PPP with an address", 9, b"\xff\3" + PPP, b""),
    ("PPP, compressed", 9, b"\x21", b""),
    ("FDDI", 10, b"\x50" + MAC + SNAP + b"\x08\0", b""),
    ("raw", 12, b"", b""),
    ("raw", 14, b"", b""),
    ("PPP with HDLC framing", 50, b"\xff\3" + PPP, b""),
    ("Cisco HDLC in PPP", 50, b"\x0f\0\x08\0", b""),
    ("PPPoE", 51, b"\x11\0\0\1\0\x20" + PPP, b""),
    ("ATM", 100, SNAP + b"\x08\0", b""),
    ("Cisco HDLC", 104, b"\x0f\0\x08\0", b""),
    ("802.11", 105, WIRELESS + SNAP + b"\x08\0", bytes(4)),
    ("802.11 between access points", 105, b"\x08\3\0\0" + bytes(26) + SNAP + b"\x08\0", b""),
    ("802.11 with QoS", 105, b"\x88\2\0\0" + bytes(22) + SNAP + b"\x08\0", b""),
    ("classical IP over ATM", 106, SNAP + b"\x08\0", b""),
    ("classical IP over ATM, without LLC", 106, b"", b""),
    ("frame relay", 107, b"\x18\x41\3\xcc", b""),
    ("frame relay of Cisco", 107, b"\x18\x41\x08\0", b""),
    ("OpenBSD loopback", 108, b"\0\0\0\2", b""),
    ("OpenBSD encapsulation", 109, b"\2\0\0\0" + bytes(8), b""),
    ("Linux cooked", 113, bytes(14) + b"\x08\0", b""),
    ("Linux cooked, VLAN", 113, bytes(14) + b"\x81\0\0\5\x08\0", b""),
    ("pflog", 117, b"\x3d\2" + bytes(62), b""),
    ("Prism", 119, b"\0\0\0\x44\x90\0\0\0" + bytes(136) + WIRELESS + SNAP + b"\x08\0", b""),
    ("IP over Fibre Channel", 122, bytes(16) + SNAP + b"\x08\0", b""),
    ("SunATM", 123, bytes(4) + SNAP + b"\x08\0", b""),
    ("radiotap", 127, b"\0\0\x08\0\0\0\0\0" + WIRELESS + SNAP + b"\x08\0", bytes(4)),
    (
        "radiotap with padding", 127,
        b"\0\0\x11\0\3\0\0\0" + bytes(8) + b"\x20\x88\2\0\0" + bytes(22) + b"\0\0" + SNAP + b"\x08\0", b"",
    ),
    ("IP over FireWire", 138, bytes(16) + b"\x08\0", b""),
    ("AVS", 163, b"\x80\x21\x10\1\0\0\0\x40" + bytes(56) + WIRELESS + SNAP + b"\x08\0", b""),
    ("pppd", 166, b"\1\3" + PPP, b""),
    ("PPI", 192, b"\0\0\x08\0\x69\0\0\0" + WIRELESS + SNAP + b"\x08\0", b""),
    ("PPP with direction", 204, b"\1\xff\3" + PPP, b""),
    ("Cisco HDLC with direction", 205, b"\0\x0f\0\x08\0", b""),
    ("frame relay with direction", 206, b"\0\x18\x41\3\xcc", b""),
    ("MPLS", 219, b"\0\x06\x41\x40", b""),
    ("ipnet", 226, b"\1\2" + bytes(22), b""),
    ("NFLOG", 239, b"\2\0\0\0" + b"\x08\0\x01\0abcd" + b"\x22\0\x09\0", b"\0\0"),
    ("NFLOG, big-endian", 239, b"\2\0\0\0" + b"\0\x06\0\x0aeth\0" + b"\0\x22\0\x09", b"\0\0"),
    ("netANALYZER", 240, bytes(4) + MAC + b"\x08\0", bytes(4)),
    ("InfiniBand", 242, bytes(40) + b"\x08\0\0\0", b""),
    ("pktap", 258, b"\x0c\0\0\0\1\0\0\0\1\0\0\0" + MAC + b"\x08\0", b""),
    ("EPON", 259, bytes(8) + MAC + b"\x08\0", b""),
    ("Linux cooked v2", 276, b"\x08\0" + bytes(18), b""),
    ("Broadcom tag", 281, MAC + bytes(4) + b"\x08\0", b""),
    ("Broadcom tag before", 282, bytes(4) + MAC + b"\x08\0", b""),
    ("DSA", 284, MAC + bytes(4) + b"\x08\0", b""),
    ("EDSA", 285, MAC + b"\xda\xda" + bytes(6) + b"\x08\0", b""),
]  # fmt: skip


@pytest.mark.parametrize(
    ("link", "header", "tail"), [row[1:] for row in HEADERS], ids=[f"{row[0]}-{row[1]}" for row in HEADERS]
)
def test_ip_is_shaped_in_its_frame(link: int, header: bytes, tail: bytes, tmp_path: Path) -> None:
    file = tmp_path / "in.pcap"
    frame = header + UDP + tail
    file.write_bytes(pcap([(EPOCH, frame), (EPOCH, header + UDP[:26])], link))
    # The second is cut.
    assert [packet.raw for packet in read_capture(file)] == [UDP, UDP[:26]]
    assert [row[1:] for row in shaped(file, "--policy", "delay:1ms")] == [row[1:] for row in seen(file)]
    # What changes its length changes the lengths around it, and no others.
    longer = put_right(UDP + b"cdef")
    around = link_type(link).around(frame, longer)
    again = pcap([(EPOCH, around)], link)
    file.write_bytes(again)
    assert [packet.raw for packet in read_capture(file)] == [longer]
    assert link_type(link).around(around, UDP) == header + UDP
    assert link_type(link).around(frame, UDP[:-1] + b"x", len(UDP)) == header + UDP[:-1] + b"x" + tail


@pytest.mark.parametrize(
    ("header", "length", "place"),
    [
        (MAC + b"\0\x26" + SNAP + b"\x08\0", 42, 12),
        (MAC + b"\x88\x64\x11\0\0\1\0\x20" + PPP, 36, 18),
        (MAC + b"\0\x21\x06\x06\x03", 37, 12),
    ],
)
def test_lengths_around_a_packet_are_put_right(header: bytes, length: int, place: int) -> None:
    around = link_type(1).around(header + UDP + bytes(7), put_right(UDP + b"cdef"))
    assert around[place : place + 2] == length.to_bytes(2)
    assert len(around) == len(header) + len(UDP) + 4


def test_a_shorter_packet_goes_out_in_its_frame(tmp_path: Path) -> None:
    file = tmp_path / "in.pcap"
    policy = tmp_path / "shorten.py"
    policy.write_text(
        "from shaper import Policy, Send\n\n\nclass Shorten(Policy):\n"
        "    def on_packet(self, packet, now):\n        return Send(packet.with_raw(packet.raw[:-1]))\n"
    )
    file.write_bytes(pcap([(EPOCH, MAC + b"\x88\x64\x11\0\0\1\0\x20" + PPP + UDP + bytes(4))], 1))
    [(_, link, data, length)] = shaped(file, "--policy", str(policy))
    assert (link, data) == (1, MAC + b"\x88\x64\x11\0\0\1\0\x1f" + PPP + put_right(UDP[:-1]))
    assert length == len(data)


OTHERS: list[tuple[int, bytes, str]] = [
    (1, ARP, "ARP"),
    (1, MAC + b"\x88\xcc" + bytes(40), "LLDP"),
    (1, MAC + b"\x81\0\0\5\x08\x06" + bytes(28), "ARP"),
    (1, MAC + b"\xab\xcd" + bytes(40), "EtherType 0xabcd"),
    (1, MAC + b"\0\x26\x42\x42\3" + bytes(35), "STP"),
    (1, MAC + b"\x88\x64\x11\0\0\1\0\x20\xc0\x21" + bytes(30), "LCP"),
    (1, MAC + b"\x88\xe5\x2c\0\0\0\0\1" + bytes(60), "encrypted MACsec"),
    (1, MAC + b"\x88\x47\0\x06\x41\x40" + ARP, "ARP"),
    (1, MAC + b"\x08\0" + UDP[:19], "too short"),
    (1, MAC + b"\x08\0" + bytes(40), "no IP header"),
    (1, MAC[:9], "too short"),
    (1, b"", "too short"),
    (0, b"\7\0\0\0" + bytes(30), "address family 7"),
    (105, b"\x80\0" + bytes(40), "802.11 management"),
    (105, b"\xd4\0" + bytes(8), "802.11 control"),
    (105, b"\x08\x42" + bytes(60), "encrypted 802.11"),
    (105, b"\x48\x02" + bytes(22), "802.11 without data"),
    (105, b"\x88\x02" + bytes(22) + b"\x80\0" + bytes(60), "802.11 A-MSDU"),
    (113, b"\0\0\3\x38" + bytes(10) + b"\0\0" + bytes(20), "netlink"),
    (189, bytes(64), "USB"),
    (251, bytes(20), "Bluetooth LE"),
    (9999, UDP, "unknown link type 9999"),
]


@pytest.mark.parametrize(("link", "data", "name"), OTHERS, ids=[f"{row[2]}-{row[0]}" for row in OTHERS])
def test_what_is_no_ip_passes_and_is_named(link: int, data: bytes, name: str, tmp_path: Path) -> None:
    file = tmp_path / "in.pcap"
    file.write_bytes(pcap([(EPOCH, data)], link))
    source = Capture(file)
    [verdict] = source
    assert isinstance(verdict, Verdict)
    assert verdict.fate == "passed"
    assert source.passed == {name: 1}
    assert shaped(file, "--policy", "loss:100%") == seen(file)


def test_frames_that_pass_are_counted_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, out = tmp_path / "in.pcapng", tmp_path / "json"
    frames = [ARP] * 3 + [MAC + b"\x08\0" + UDP]
    file.write_bytes(
        section() + interface(1) + interface(189) + b"".join(enhanced(n, data) for n, data in enumerate(frames, 1))
        + enhanced(9, bytes(64), 1)
    )  # fmt: skip
    assert main(["replay", str(file), "--policy", "delay:1ms", f"--json={out}"]) == 0
    assert "4 frames are no IP (ARP 3, USB 1): passed on unshaped\n" in capsys.readouterr().out
    document = json.loads(out.read_text())
    assert (document["taken"], document["passed"]) == (1, {"ARP": 3, "USB": 1})


def test_frames_without_ip_keep_their_time_beside_held_packets(tmp_path: Path) -> None:
    file = tmp_path / "in.pcap"
    ip = MAC + b"\x08\0" + UDP
    file.write_bytes(pcap([(0, ip), (5 * ms, ARP), (10 * ms, ARP), (20 * ms, ip)], 1))
    found = [(at // ms, data) for at, _, data, _ in shaped(file, "--policy", "delay:10ms")]
    assert found == [(5, ARP), (10, ip), (10, ARP), (30, ip)]


def test_a_packet_that_a_policy_made_goes_out_in_the_frame_of_another(tmp_path: Path) -> None:
    file = tmp_path / "in.pcap"
    ip = MAC + b"\x81\0\0\5\x08\0" + put_right(UDP[:6] + b"\x40" + UDP[7:12] + b"\x0a\0\0\1\x0a\0\0\2" + UDP[20:])
    file.write_bytes(pcap([(0, ip)], 1))
    [(_, link, data, _)] = shaped(file, "--policy", "mtu:size=20,icmp=yes")
    assert link == 1
    assert data[:18] == MAC[6:] + MAC[:6] + b"\x81\0\0\5\x08\0"
    assert data[18 + 9] == 1
    assert data[18 + 12 : 18 + 20] == b"\x0a\0\0\2\x0a\0\0\1"


@pytest.mark.parametrize("arguments", [["--policy", "pass_through"], ["--policy", "delay:1ms", "--filter", "udp"]])
def test_a_filter_sees_the_packet_in_any_frame(arguments: list[str], tmp_path: Path) -> None:
    file = tmp_path / "in.pcapng"
    tagged = MAC + b"\x81\0\0\5\x88\x64\x11\0\0\1\0\x20" + PPP + UDP
    data = section() + interface(1) + interface(101) + enhanced(1, tagged) + enhanced(2, UDP6, 1)
    file.write_bytes(data)
    assert [data for _, _, data, _ in shaped(file, *arguments)] == [tagged, UDP6]


def test_what_a_filter_leaves_out_is_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "in.pcap"
    file.write_bytes(pcap([(1, ARP), (2, MAC + b"\x08\0" + UDP)], 1))
    assert main(["replay", str(file), "--policy", "pass_through", "--filter", "tcp"]) == 0
    assert "2 frames left out: not matched by the filter\n" in capsys.readouterr().out
    assert main(["replay", str(file), "--policy", "pass_through", "--filter", "udp and"]) == 2
    assert "filter 'udp and' on the IP packets of" in capsys.readouterr().err


def test_two_snap_lengths_and_a_filter(tmp_path: Path) -> None:
    path = copied("two_if_snap.pcapng", tmp_path)
    assert shaped(path, "--policy", "pass_through", "--filter", "udp") == seen(path)


# Files.


def test_simple_packets_have_the_time_of_the_packet_before() -> None:
    assert [packet.arrived for packet in read_capture(DATA / "spb.pcapng")] == [0, 0]
    assert [packet.arrived // s for packet in read_capture(DATA / "spb_mixed.pcapng")] == [1, 1, 2]


@pytest.mark.parametrize("compress", [gzip.compress, lzma.compress, bz2.compress])
def test_compressed_captures_are_read(compress: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert callable(compress)
    file = tmp_path / "in.pcap"
    whole = pcap([(EPOCH + number, UDP) for number in range(1000)])
    file.write_bytes(compress(whole))
    assert len(list(read_capture(file))) == 1000
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(compress(whole))))
    assert len(list(read_capture(Path("-")))) == 1000
    file.write_bytes(compress(whole)[:-20])
    with pytest.raises(CaptureError, match=r"in.pcap is (cut off|damaged)"):
        list(read_capture(file))
    file.write_bytes(compress(whole)[:5])
    with pytest.raises(CaptureError, match=r"in.pcap is"):
        list(read_capture(file))


def test_a_cut_gzip_file_is_used_as_far_as_it_goes(tmp_path: Path) -> None:
    file = tmp_path / "in.pcap"
    packed = gzip.compress(pcap([(EPOCH + number * 7919, UDP) for number in range(20000)]))
    file.write_bytes(packed[: len(packed) // 2])
    capture = Capture(file)
    core = Core([])
    with pytest.raises(CaptureError, match=r"is cut off after frame \d+"):
        list(play(core, capture))
    assert core.counts.taken > 5000


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (b"\x28\xb5\x2f\xfd", "is compressed with zstd: try zstd -dc "),
        (b"\x04\x22\x4d\x18", "is compressed with lz4: try lz4 -dc "),
        (b"PK\3\4", "is compressed with zip: try unzip -p "),
        (b"\xa1\xb2\xc3\xcd", "is a pcap file of a patched libpcap, neither pcap nor pcapng: try editcap "),
        (b"\xcd\xc3\xb2\xa1", "is a pcap file of a patched libpcap"),
        (bytes(4) + struct.pack("<I", 1_700_000_000) + b"\2\0" + struct.pack(">HHH", 84, 0, 64), "is an ERF file"),
        (b"", "is empty"),
        (b"hello, world, this is text", "is neither a pcap nor a pcapng file"),
        *((magic, what) for magic, what in STRANGERS.items() if len(magic) > 2),
    ],
)
def test_other_files_are_named(start: bytes, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if start == b"\x28\xb5\x2f\xfd" and sys.version_info >= (3, 14):
        return
    file = tmp_path / "in.pcap"
    file.write_bytes(start + bytes(20) * bool(start))
    assert main(["replay", str(file), "--policy", "pass_through"]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("order", ["<", ">"])
def test_the_pcap_of_a_patched_libpcap_is_read(order: str, tmp_path: Path) -> None:
    file = tmp_path / "in.pcap"
    record = struct.pack(order + "IIIIIHBx", 5, 6, len(UDP), len(UDP), 2, 0x800, 4)
    file.write_bytes(struct.pack(order + "IHHIIII", 0xA1B2CD34, 2, 4, 0, 0, 65535, 101) + (record + UDP) * 3)
    assert [(packet.raw, packet.arrived) for packet in read_capture(file)] == [(UDP, 5 * s + 6000)] * 3


def test_an_old_pcap_may_have_its_lengths_swapped(tmp_path: Path) -> None:
    file = tmp_path / "in.pcap"
    record = struct.pack("<IIII", 5, 6, 1500, 30)
    file.write_bytes(struct.pack("<IHHIIII", 0xA1B2C3D4, 2, 2, 0, 0, 65535, 101) + (record + UDP) * 2)
    assert [(len(frame.data), frame.length) for frame in frames(file)] == [(30, 1500)] * 2


def test_packets_beyond_65535_bytes_can_be_rewritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = copied("bigtcp.pcap", tmp_path)
    found = shaped(path, "--policy", "window:size=1kb")
    assert "failed" not in capsys.readouterr().err
    assert [length for *_, length in found] == [length for *_, length in seen(path)]
    assert found[0][2][2:4] == b"\0\0"
    assert found[0][2][34:36] == (1024).to_bytes(2)


def test_a_frame_that_was_cut_behind_its_packet_stays_as_long(tmp_path: Path) -> None:
    packet = bytes_of(PacketSpec("tcp", 10, ACK, 1, 1), Ends("192.0.2.1", 40000, "192.0.2.9", 80), 1)
    frame = MAC + b"\x08\0" + packet + b"tail"
    file = tmp_path / "in.pcap"
    header = struct.pack("<IHHIIII", 0xA1B2C3D4, 2, 4, 0, 0, len(frame), 1)
    file.write_bytes(header + struct.pack("<IIII", 5, 6, len(frame), len(frame) + 100) + frame)
    ((_, link, data, length),) = shaped(file, "--policy", "window:size=0")
    assert (link, len(data), length, data[-4:]) == (1, len(frame), len(frame) + 100, b"tail")
    assert data != frame


# Any mixture.

LINKED = [(link, header, tail) for _, link, header, tail in HEADERS]
frame_data = st.one_of(
    st.sampled_from(LINKED).map(lambda row: (row[0], row[1] + UDP + row[2])),
    st.sampled_from([(link, data) for link, data, _ in OTHERS]),
    st.tuples(st.sampled_from([row[0] for row in LINKED]), st.binary(max_size=80)),
    st.builds(
        lambda tags, packet, padding: (1, MAC + b"\x81\0\0\7" * tags + packet + padding),
        st.integers(0, 6),
        st.sampled_from([b"\x08\0" + UDP, b"\x86\xdd" + UDP6, b"\x08\0" + UDP[:24], b"\x08\x06" + bytes(28)]),
        st.binary(max_size=20),
    ),
)
mixtures = st.lists(
    st.tuples(frame_data, st.integers(0, (1 << 64) - 1) | st.integers(EPOCH, EPOCH + 100), st.integers(0, 50)),
    max_size=20,
)


@examples(25)
@given(mixture=mixtures)
def test_any_mixture_passes_through_as_it_is(
    mixture: list[tuple[tuple[int, bytes], int, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("mixture")
    file, out = folder / "in.pcapng", folder / "out.pcapng"
    links = sorted({link for (link, _), _, _ in mixture})
    parts = [section(), *(interface(link, 9) for link in links)]
    for (link, data), at, cut in mixture:
        head = struct.pack("<IIIII", links.index(link), at >> 32, at & 0xFFFFFFFF, len(data), len(data) + cut)
        parts.append(block(6, head + data + bytes(-len(data) % 4)))
    file.write_bytes(b"".join(parts))
    assert main(["replay", str(file), "--policy", "pass_through", "-o", str(out)]) == 0
    assert seen(out) == seen(file)
    held = folder / "held.pcapng"
    assert main(["replay", str(file), "--policy", "delay:time=10ms", "-o", str(held)]) == 0
    shift = [10 * ms if ip_of(frame) else 0 for frame in frames(file)]
    before = sorted((at + by, *rest) for (at, *rest), by in zip(seen(file), shift, strict=True))
    assert sorted(seen(held)) == before


@given(st.sampled_from([row[0] for row in LINKED]), st.binary(max_size=120))
def test_any_bytes_are_ip_or_named(link: int, data: bytes) -> None:
    found = link_type(link).find(data)
    if isinstance(found, int):
        assert data[found] >> 4 in (4, 6)
        assert link_type(link).around(data, data[found:])[:found].hex()[:2] == data[:found].hex()[:2]
    else:
        assert found


def test_a_frame_has_its_number() -> None:
    source = Source(io.BytesIO(pcap([(1, UDP), (2, UDP)])), "in")
    assert [(type(frame), frame.number) for frame in read_frames(source)] == [(Frame, 1), (Frame, 2)]
