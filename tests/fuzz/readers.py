"""What shaper reads, each with sound inputs, and the command that reads it."""

from __future__ import annotations

import gzip
import re
import struct
import tarfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from shaper.timeline.packet_spec import Ends, PacketSpec, bytes_of
from shaper.wire.header import ACK, SYN
from tests.captures import EPOCH, pcap

SEEDS = Path(__file__).parent / "seeds"
TESTS = SEEDS.parents[1]
WORD = re.compile(rb"[\w.%]+")

HERE = Ends("192.0.2.1", 40000, "192.0.2.9", 80)
LOOKS = [
    (PacketSpec("tcp", 0, SYN, 100, mss=1460, options=4), HERE),
    (PacketSpec("tcp", 0, SYN | ACK, 500, 101), HERE.reverse),
    (PacketSpec("tcp", 0, ACK, 101, 501), HERE),
    (PacketSpec("tcp", 100, ACK, 101, 501), HERE),
    (PacketSpec("udp", 9), Ends("2001:db8::1", 1, "2001:db8::2", 2)),
    (PacketSpec("fragment", 16, id=3), HERE),
]
PACKETS = [bytes_of(look, ends, number) for number, (look, ends) in enumerate(LOOKS)]
ETHERNET = bytes(12) + b"\x08\0"


class Reader(NamedTuple):
    """One kind of input.

    Attributes:
        seeds: sound inputs.
        words: of the format.
        arguments: shaper's arguments for an input that was put at this path; the number of the try chooses among
            several commands.
    """

    seeds: Sequence[bytes]
    words: Sequence[bytes]
    arguments: Callable[[Path, int], list[str]]


def capture(raw: Sequence[bytes] = PACKETS, link: int = 101, order: str = "<") -> bytes:
    """A pcap file with these frames, a millisecond apart."""
    return pcap([(EPOCH + n * 1_000_000, data) for n, data in enumerate(raw)], link, order)


def blocks(order: str) -> bytes:
    """A pcapng file with two sections, two interfaces, and all blocks that have packets."""

    def block(kind: int, body: bytes) -> bytes:
        size = struct.pack(order + "I", 12 + len(body) + -len(body) % 4)
        return struct.pack(order + "I", kind) + size + body + bytes(-len(body) % 4) + size

    section = block(0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1))
    name = struct.pack(order + "HH4s", 2, 3, b"lo\0")
    resolution = struct.pack(order + "HHB3xHHqHH", 9, 1, 9, 14, 8, 100, 0, 0)
    plain, frame = PACKETS[3], ETHERNET + PACKETS[3]
    return b"".join(
        [
            section,
            block(1, struct.pack(order + "HHI", 101, 0, 0) + name + resolution),
            block(1, struct.pack(order + "HHI", 1, 0, 96)),
            block(6, struct.pack(order + "IIIII", 0, 1, 7, len(plain), len(plain)) + plain),
            block(6, struct.pack(order + "IIIII", 1, 1, 9, 96, len(frame)) + frame[:96]),
            block(2, struct.pack(order + "HHIIII", 0, 0, 1, 12, len(plain), len(plain)) + plain),
            block(3, struct.pack(order + "I", len(plain)) + plain),
            block(5, struct.pack(order + "III", 0, 1, 20)),
            section,
        ]
    )


CAPTURES = [
    capture(),
    capture(order=">"),
    capture([ETHERNET + raw for raw in PACKETS[:4]], 1),
    capture([b"\0\1\0\1\0\6" + bytes(8) + b"\x08\0" + raw for raw in PACKETS[:4]], 113),
    capture([b"\2\0\0\0" + raw for raw in PACKETS[:4]], 0),
    blocks("<"),
    blocks(">"),
    gzip.compress(capture(), mtime=0),
]


def file(name: str) -> bytes:
    """A seed of the tree."""
    return (SEEDS / name).read_bytes()


def words_of(*seeds: bytes) -> list[bytes]:
    """The words in these texts."""
    return sorted({word for seed in seeds for word in WORD.findall(seed)})


def text(arguments: Callable[[Path, int], list[str]], *seeds: bytes) -> Reader:
    """A kind of text."""
    return Reader(seeds, words_of(*seeds), arguments)


def replay(path: Path, *policies: str) -> list[str]:
    """A replay of a sound capture, which lies beside the input."""
    beside = path.with_name("sound.pcap")
    if not beside.exists():
        beside.write_bytes(capture())
    return ["replay", str(beside), *(word for policy in policies for word in ("--policy", policy))]


def of_capture(path: Path, number: int) -> list[str]:
    arguments = ["replay", str(path), "--policy", ("delay:1ms", "window:size=9")[number % 2]]
    out = str(path.with_name("out.pcapng"))
    return arguments + [["-o", out], ["--timeline"], ["--journal", out + ".jsonl", "--json"]][number % 3]


def of_trace(path: Path, number: int) -> list[str]:
    out = str(path.with_name("out"))
    return ["report", str(path), *[[], [f"--json={out}"], ["--csv", out], ["--chrome", out]][number % 4]]


def of_journal(path: Path, number: int) -> list[str]:
    if number % 2:
        return [*replay(path, "prequeue:reader=process"), "--changes", str(path)]
    log = path.with_name("sound.strace")
    log.write_bytes(file("stderr.strace"))
    return ["report", str(log), "--journal", str(path), *[[], ["--json"]][number // 2 % 2]]


def of_profile(path: Path, number: int) -> list[str]:
    named = path.with_suffix(".toml")
    named.write_bytes(path.read_bytes())
    return [*replay(path), "--profile", str(named)]


def of_places(path: Path, number: int) -> list[str]:
    named = path.with_suffix(".toml")
    named.write_bytes(path.read_bytes())
    return ["up", str(named), "--check"]


def of_words(path: Path) -> str:
    """The input as an argument of a command."""
    return path.read_bytes().replace(b"\0", b"").decode(errors="surrogateescape")


def recording(name: str) -> Callable[[Path, int], list[str]]:
    """A recording of which one file is the input."""

    def arguments(path: Path, number: int) -> list[str]:
        folder = path.with_name("recording")
        for sound in (SEEDS / "recording").rglob("*.*"):
            place = folder / sound.relative_to(SEEDS / "recording")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(path.read_bytes() if place.relative_to(folder) == Path(name) else sound.read_bytes())
        return of_trace(folder, number)

    return arguments


def of_babeltrace(path: Path, number: int) -> list[str]:
    """An LTTng trace of which babeltrace2 writes the input: one of that name comes first in PATH."""
    folder, program = path.with_name("trace"), path.with_name("babeltrace2")
    if not program.exists():
        folder.mkdir(exist_ok=True)
        (folder / "metadata").write_bytes(b'event { name = "sched_switch"; };')
        program.write_text(f"#!/bin/sh\nexec cat '{path}'\n")
        program.chmod(0o755)
    return of_trace(folder, number)


def ctf(name: str) -> Callable[[Path, int], list[str]]:
    """An LTTng trace of which one file is the input."""

    def arguments(path: Path, number: int) -> list[str]:
        folder = path.with_name("ctf")
        for other in ("metadata", "ch0_0"):
            folder.mkdir(exist_ok=True)
            (folder / other).write_bytes(path.read_bytes() if other == name else ctf_file(other))
        return of_trace(folder, number)

    return arguments


@cache
def ctf_file(name: str) -> bytes:
    """A file of a real LTTng trace."""
    with tarfile.open(TESTS / "trace/data/none.tar.xz") as archive:
        member = archive.extractfile(f"none/trace/kernel/{name}")
        assert member is not None
        return member.read()


LINES = [line.partition("\t")[0].encode() for line in (TESTS / "data/netem_lines.tsv").read_text().splitlines()]
STORIES = [story.read_bytes() for story in sorted((TESTS / "timelines").glob("*.txt"))]
SPECS = [
    title.partition(b"\n")[0].replace(b" ", b":", 1).replace(b" ", b",")
    for story in STORIES
    for title in story.split(b"# ")[1:]
    if b"|" not in title.partition(b"\n")[0] and b"seed" not in title.partition(b"\n")[0]
]

READERS = {
    "captures": Reader(CAPTURES, (), of_capture),
    "journals": text(of_journal, file("journal.jsonl")),
    "strace logs": text(of_trace, file("stderr.strace"), file("select.strace")),
    "texts of perf, trace-cmd and tracefs": text(
        of_trace, file("perf.txt"), file("trace_cmd.txt"), file("tracefs.txt")
    ),
    "texts of LTTng traces": text(of_babeltrace, file("lttng.txt")),
    "pages of a recording": Reader([file("recording/tasks/cpu0.raw")], (), recording("tasks/cpu0.raw")),
    "descriptions of a recording": text(recording("recording.json"), file("recording/recording.json")),
    "snapshots of a recording": text(recording("snapshots.jsonl"), file("recording/snapshots.jsonl")),
    "profiles": text(of_profile, file("profile.toml")),
    "files of places": text(of_places, file("places.toml")),
    "netem lines": text(lambda path, _: ["netem", of_words(path)], *LINES),
    "policies' options": text(lambda path, _: replay(path, of_words(path)), *SPECS),
    "bandwidth traces": text(lambda path, _: replay(path, f"bandwidth_trace:{path}"), b"1\n3\n3\n10\n"),
    "fates": text(
        lambda path, _: replay(path, f"fates:{path}"),
        b"# found\ntcp/80 #1 reply data 2: hold 40ms\n#1 original udp 1 again 2: behind 2\n",
    ),
    "traces of delays": text(lambda path, _: replay(path, f"delay:times={path}"), b"0 10ms # first\n1.5s 80ms\n2s 0\n"),
    "tables of distributions": text(
        lambda path, _: replay(path, f"delay:jitter=1ms,distribution={path}"), b"# a table\n-32768 0 5\n7 32767\n"
    ),
    "numbers of packets": text(lambda path, _: replay(path, f"loss:packets={path}"), b"1\n3-5\n7\n"),
}
SLOW_READERS = {
    "metadata of LTTng traces": text(ctf("metadata"), ctf_file("metadata")),
    "packets of LTTng traces": Reader([ctf_file("ch0_0")], (), ctf("ch0_0")),
}
"""Those for which each try starts babeltrace2."""
