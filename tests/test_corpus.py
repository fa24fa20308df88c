"""What `./dev corpus` notices, and that it finds nothing where all is right."""

import gzip
import json
import struct
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6
from scapy.layers.l2 import Dot1Q, Ether
from scapy.packet import Packet as Layers
from scapy.packet import Raw

from tests import corpus
from tests.captures import EPOCH, UDP6, pcap, udp_from
from tests.checksums import are_right
from tests.corpus import DELAY, Ran, faults_of
from tests.frames import Frame, Reading, is_capture

FRAMES = [(EPOCH + n * 1000, udp_from(n)) for n in range(5)]
CAME = [Frame(at, 101, len(data), data) for at, data in FRAMES]


def test_a_folder_of_which_all_is_right_or_refused(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "below/raw.pcap").write_bytes(pcap([*FRAMES, (EPOCH + 9000, UDP6)]))
    (tmp_path / "cut.pcap").write_bytes(pcap(FRAMES)[:-3])
    (tmp_path / "calls.strace").write_text('10 1700000000.000000 read(3, "", 9) = 0 <2.000000>\n')
    (tmp_path / "notes.txt").write_text("notes\n")
    command = [sys.executable, "-m", "tests.corpus", str(tmp_path), "--json", str(tmp_path / "found.json")]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    found = {(o["file"], o["run"]): o for o in json.loads((tmp_path / "found.json").read_text())}
    assert found["below/raw.pcap", "pass"]["verdict"] == "right"
    assert found["below/raw.pcap", "pass"]["frames"] == 6
    assert found["cut.pcap", "delay"]["status"] == 1
    assert found["calls.strace", "report"]["verdict"] == "right"
    assert found["notes.txt", "report"]["verdict"] == "refused"
    assert "faults: 0" in ran.stdout


@pytest.mark.parametrize(
    ("run", "went", "told"),
    [
        ("pass", CAME[:-1], "frame 5 is missing"),
        ("pass", [*CAME, CAME[0]], "frame 6 is one too many"),
        ("pass", [CAME[0]._replace(at=7), *CAME[1:]], f"frame 1: at {EPOCH} came, 7 went"),
        ("pass", [CAME[0]._replace(link=1), *CAME[1:]], "frame 1: link 101 came, 1 went"),
        ("pass", [CAME[0]._replace(length=99), *CAME[1:]], "frame 1: length 30 came, 99 went"),
        ("delay", CAME[1:], "5 frames came, 4 went"),
        ("delay", [CAME[0]._replace(at=EPOCH + 1), *CAME[1:]], f"frame 1 of {EPOCH} ns went at [{EPOCH + 1}]"),
        ("rewrite", CAME[1:], "frame 1 was changed at byte 21, and a checksum is wrong"),
        ("make", [CAME[0]._replace(data=b"\x45" + bytes(29))], "a frame that a policy made has a wrong checksum"),
    ],
)
def test_frames_that_are_wrong(run: str, went: list[Frame], told: str) -> None:
    assert next(corpus.compare(run, CAME, went)).startswith(told)


def test_frames_that_are_right() -> None:
    assert not list(corpus.compare("pass", CAME, CAME))
    late = [frame._replace(at=(frame.at or 0) + DELAY * (n % 2)) for n, frame in enumerate(CAME)]
    assert not list(corpus.compare("delay", CAME, late))
    assert not list(corpus.compare("rewrite", CAME, CAME))
    assert not list(corpus.compare("make", CAME, CAME[:2]))


@pytest.mark.parametrize(
    ("ran", "told"),
    [
        (Ran(70, "", "Traceback (most recent call last):\n…\nKeyError: 7", 1, 1), "status 70, KeyError: 7"),
        (Ran(-14, "", "", 21, 1), "took longer than 21 s"),
        (
            Ran(1, "", "shaper: a.pcap is damaged: list index out of range", 1, 1),
            "Python's own words, 'index out of range'",
        ),
        (Ran(1, "", "one\ntwo", 1, 1), "status 1, and 2 lines say why"),
        (Ran(0, "", "", 1, 9000), "took 9000 MB"),
    ],
)
def test_commands_that_are_wrong(ran: Ran, told: str) -> None:
    assert [fault.startswith(told) for fault in faults_of(ran)] == [True]


def test_commands_that_are_right() -> None:
    assert not list(faults_of(Ran(0, "5 packets taken", "12 frames are no IP", 1, 1)))
    assert not list(faults_of(Ran(1, "", "shaper: a.pcap is cut off after frame 3", 1, 1)))


def test_what_python_raises_and_how_long_it_takes_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def shaper(arguments: Sequence[str]) -> int:
        if arguments[0] == "hang":
            while True:
                pass
        raise KeyError(arguments[0])

    monkeypatch.setattr(corpus, "shaper", shaper)
    assert list(faults_of(corpus.run_command(["this"], 10))) == ["status 70, KeyError: 'this'"]
    assert list(faults_of(corpus.run_command(["hang"], 1))) == ["took longer than 1 s"]


LAYERS = [
    Ether() / IP() / TCP() / Raw(b"odd"),
    Ether() / Dot1Q() / Dot1Q() / IPv6(dst="::1") / UDP() / Raw(b"x"),
    IP() / ICMP() / Raw(b"x"),
    IPv6(dst="::1") / ICMPv6EchoRequest(),
    Raw(b"0" * 20) / IP(options=b"\1\1\1\1") / UDP(),
]


@pytest.mark.parametrize("layers", LAYERS, ids=lambda layers: layers.summary())
def test_checksums_in_frames_of_any_kind(layers: Layers) -> None:
    frame = bytes(layers)
    assert are_right(frame)
    assert are_right(frame, len(frame) - 1)
    wrong = frame[:-1] + bytes((frame[-1] ^ 1,))
    assert not are_right(wrong)


def test_captures_of_all_kinds_are_read(tmp_path: Path) -> None:
    path = tmp_path / "capture"
    for order in "<>":
        path.write_bytes(pcap(FRAMES, order=order))
        assert list(Reading(path)) == CAME
    path.write_bytes(gzip.compress(pcap(FRAMES)))
    assert is_capture(path)
    assert list(Reading(path)) == CAME
    path.write_bytes(pcap(FRAMES)[:-1])
    reading = Reading(path)
    assert list(reading) == CAME[:-1]
    assert reading.damaged


@pytest.mark.parametrize("order", "<>")
def test_pcapng_with_all_blocks_that_have_packets(tmp_path: Path, order: str) -> None:
    def block(kind: int, body: bytes) -> bytes:
        size = struct.pack(order + "I", 12 + len(body) + -len(body) % 4)
        return struct.pack(order + "I", kind) + size + body + bytes(-len(body) % 4) + size

    data = FRAMES[1][1]
    size = struct.pack(order + "II", len(data), 99)
    resolution = struct.pack(order + "HH", 9, 1) + b"\x83\0\0\0" + struct.pack(order + "HHq", 14, 8, 100)
    content = [
        block(0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1)),
        block(1, struct.pack(order + "HHI", 101, 0, 20)),
        block(1, struct.pack(order + "HHI", 1, 0, 0) + resolution),
        block(6, struct.pack(order + "III", 0, 0, 7) + size + data),
        block(6, struct.pack(order + "III", 1, 0, 12) + size + data),
        block(2, struct.pack(order + "HHII", 1, 0, 0, 8) + size + data),
        block(3, struct.pack(order + "I", 30) + data),
        block(5, b"statistics"),
    ]
    path = tmp_path / "capture.pcapng"
    path.write_bytes(b"".join(content))
    reading = Reading(path)
    assert list(reading) == [
        Frame(7000, 101, 99, data),
        Frame(101_500_000_000, 1, 99, data),
        Frame(101_000_000_000, 1, 99, data),
        Frame(None, 101, 30, data[:20]),
    ]
    assert not reading.damaged
