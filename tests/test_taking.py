"""What the kernel says about a packet is read at the right place, whatever the packet contains."""

import socket
import time
from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as some

from shaper.linux.recvmmsg import Datagrams
from shaper.live.choices import Timing
from shaper.live.nfqueue.layout import NFQNL_MSG_PACKET, NO_PACKET, Layout, learn
from shaper.live.waiting import GATHERING, LONGEST_AWAKE, NAP, Waiting
from shaper.units import ms, us

PACKET_HDR, MARK, TIMESTAMP, INDEV, PAYLOAD, CAP_LEN = 1, 3, 4, 5, 10, 13


def attribute(kind: int, value: bytes) -> bytes:
    return pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def message(
    id: int,
    packet: bytes,
    *,
    stamp: bool = False,
    at: tuple[int, int] = (12, 34),
    mark: bool = False,
    kind: int = NFQNL_MSG_PACKET,
) -> bytes:
    """As nfqnl_build_packet_message() in net/netfilter/nfnetlink_queue.c makes it; the payload comes last, unpadded."""
    parts = attribute(PACKET_HDR, pack(">IHB", id, 0x0800, 1)) + attribute(INDEV, pack(">I", 1))
    parts += attribute(MARK, pack(">I", 7)) if mark else b""
    parts += attribute(TIMESTAMP, pack(">QQ", *at)) if stamp else b""
    parts += pack("=HH", 4 + len(packet), PAYLOAD) + packet
    return pack("=IHHII", 20 + len(parts), kind, 0, 0, 0) + bytes(4) + parts


def has(layout: Layout, data: bytes) -> bool:
    return layout.heads(memoryview(data.ljust(512, b"\0"))) == layout.expected


@given(some.binary(min_size=1, max_size=100), some.booleans(), some.booleans())
def test_a_layout_reads_the_message_it_was_learnt_from(packet: bytes, stamp: bool, mark: bool) -> None:
    data = message(0x01020304, packet, stamp=stamp, mark=mark)
    layout = learn(memoryview(data))
    assert has(layout, data)
    assert layout.stamped == stamp
    *values, raw = layout.read(len(data))(memoryview(data))
    assert values == ([0x01020304, 12, 34] if stamp else [0x01020304])
    assert raw == packet


@given(some.binary(min_size=1, max_size=200))
def test_no_packet_makes_its_message_look_like_another_layout(packet: bytes) -> None:
    stamped, plain = message(1, packet, stamp=True), message(2, packet)
    # A packet whose content looks like the rest of such a message.
    liar = message(3, stamped[len(plain) - len(packet) - 4 :])
    layouts = [learn(memoryview(each)) for each in (stamped, plain)]
    assert [has(layout, stamped) for layout in layouts] == [True, False]
    for data in (plain, liar):
        assert [has(layout, data) for layout in layouts] == [False, True]


def test_other_messages_are_not_about_packets() -> None:
    assert learn(memoryview(message(1, b"x", kind=2))) is NO_PACKET
    headless = message(1, b"")[:-4]
    assert learn(memoryview(pack("=I", len(headless)) + headless[4:])) is NO_PACKET


def test_datagrams_come_many_at_once_in_their_order() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, theirs:
        datagrams = Datagrams(ours.fileno(), room=8, most=3)
        assert datagrams.receive() == 0
        for text in (b"a", b"bcd", b"", b"longer than its room"):
            theirs.send(text)
        assert datagrams.receive() == 3
        assert datagrams.lengths(3) == [1, 3, 0]
        assert datagrams.lengths(2) == [1, 3]
        assert b"".join(map(bytes, datagrams.slots[:2])) == b"a" + bytes(7) + b"bcd" + bytes(5)
        assert datagrams.lengths(datagrams.receive()) == [8]
        assert bytes(datagrams.slots[0]) == b"longer t"


@pytest.mark.parametrize("timing", ["precise", "balanced", "thrifty"])
def test_waiting_ends_with_a_packet_a_deadline_or_the_turn(timing: Timing) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, theirs:
        waiting = Waiting([ours.fileno()], timing)
        now = time.monotonic_ns()
        assert not waiting.sleep(None, now + 100 * us, all_held=False)
        assert time.monotonic_ns() >= now + 100 * us
        now = time.monotonic_ns()
        assert waiting.sleep(now + 1 * ms, now + 100 * ms, all_held=False)
        assert time.monotonic_ns() >= now + 1 * ms - waiting.lead
        theirs.send(b"x")
        for turn in (50 * us, 10_000 * ms):
            assert waiting.sleep(None, time.monotonic_ns() + turn, all_held=True)
        _, longest, missed, _ = GATHERING[timing]
        waiting.close()
        for deadline, least in ((None, longest), (10 * ms, longest), (longest - 1, longest - 1), (-1, missed)):
            waiting = Waiting([ours.fileno()], timing)
            before = time.monotonic_ns()
            waiting.gather(deadline if deadline is None else before + deadline, before)
            assert time.monotonic_ns() >= before + least
            waiting.close()


class Sleepy(Waiting):
    """In a time of its own, it sleeps longer than it wants to, by `late` ns."""

    now = late = slept = 0

    def _sleep(self, duration: int, *, for_packets: bool) -> int:
        self.slept += 1
        self.now += duration + self.late
        return 0


@pytest.mark.parametrize("timing", ["balanced", "thrifty"])
def test_where_waking_takes_long_balanced_timing_gathers_shorter(
    timing: Timing, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as some_socket:
        waiting = Sleepy([some_socket.fileno()], timing)
        monkeypatch.setattr(time, "monotonic_ns", lambda: waiting.now)
        waiting.late = 40 * us
        for _ in range(40):
            deadline = waiting.now + 50 * us
            waiting.gather(deadline, waiting.now)
        late = waiting.now - deadline
        assert late < 2 * us if timing == "balanced" else late == 90 * us
        # There is no time for a sleep now; but it tries again, as waking may have become quicker.
        waiting.late = waiting.slept = 0
        for _ in range(200):
            deadline = waiting.now
            waiting.gather(deadline, waiting.now)
        assert 0 < waiting.slept < 200 if timing == "balanced" else waiting.slept == 200
        assert waiting.now - deadline <= GATHERING[timing].missed
        waiting.close()


@pytest.mark.parametrize("timing", ["precise", "balanced", "thrifty"])
def test_only_balanced_timing_takes_naps(timing: Timing) -> None:
    with socket.socket() as some_socket:
        waiting = Waiting([some_socket.fileno()], timing)
        before = time.monotonic_ns()
        waiting.nap()
        assert (waiting.tired_at <= time.monotonic_ns() + LONGEST_AWAKE) == (timing == "balanced")
        assert waiting.tired_at >= before + NAP + LONGEST_AWAKE
        # Where packets gather again and again, it needs none.
        last = waiting.tired_at
        waiting.gather(0, last)
        assert (waiting.tired_at > last) == (timing == "balanced")
        waiting.close()
