"""Which connections leave the queue, and when it is tried; the mark itself is set by the kernel."""

from __future__ import annotations

from shaper import Policy
from shaper.core.core import Core, Following
from shaper.live.connmark import Connmark
from shaper.spec.load import load
from shaper.timeline.packet_spec import Ends, PacketSpec, bytes_of
from shaper.units import ms
from shaper.wire.header import ACK, SYN
from shaper.wire.packet import Packet

HERE = Ends("192.0.2.1", 40000, "192.0.2.9", 80)
DATAGRAM, SYN_, DATA = PacketSpec("udp", 10), PacketSpec("tcp", 0, SYN, 1000), PacketSpec("tcp", 5, ACK, 1001, 1)


class Queue:
    """A core, and a kernel that knows a connection from its packet number `known_from` on."""

    def __init__(self, *specs: str, known_from: int = 1, then: tuple[Following, ...] = ()) -> None:
        self.core = Core([load(spec) for spec in specs], then=then)
        self.marked: list[tuple[int, int]] = []  # which packet, and the mark
        self._known_from = known_from
        self._number = 0
        self.connmark = Connmark(self.core, self._set, 1)

    def _set(self, raw: bytes, value: int, mask: int, is_known: bool) -> bool:
        assert is_known == (self._number > 128)
        if self._number < self._known_from:
            return False
        self.marked.append((self._number, value))
        return True

    def send(self, spec: PacketSpec, ends: Ends = HERE, now: int = 0) -> None:
        self._number += 1
        packet = Packet(bytes_of(spec, ends, self._number), self._number, now)
        self.core.receive(packet, now)
        self.connmark.see([packet])


def test_the_first_packet_is_enough_where_no_policy_is_for_the_connection() -> None:
    for specs in (["delay:20ms,connections=0%"], ["pass_through"], [], ["delay:20ms,connections=0%", "pass_through"]):
        for first in (DATAGRAM, SYN_):
            queue = Queue(*specs)
            queue.send(first)
            assert queue.marked == [(1, 1)]
            assert queue.connmark.connections == 1


def test_where_a_policy_is_for_one_direction_or_some_packets_they_stay() -> None:
    for spec in ("delay:20ms", "delay:20ms,direction=reply", "delay:20ms,only=syn", "loss:0%"):
        queue = Queue(spec)
        for ends in (HERE, HERE.reverse) * 5:
            queue.send(SYN_, ends)
            queue.send(DATA, ends)
        assert queue.marked == []


def test_it_is_tried_less_and_less_often() -> None:
    """The kernel doesn't know a connection before its first packet has passed all hooks."""
    queue = Queue("pass_through", known_from=5)
    for _ in range(300):
        queue.send(DATAGRAM)
    # At 1, 2 and 4 in vain; then, should somebody have taken the mark away, again.
    assert queue.marked == [(8 << nth, 1) for nth in range(6)]
    assert queue.connmark.connections == 1


def test_the_next_connection_with_the_same_ports_has_a_chance_of_its_own() -> None:
    queue = Queue("pass_through")
    for seq in (1000, 5000, 9000):
        queue.send(PacketSpec("tcp", 0, SYN, seq))
        queue.send(PacketSpec("tcp", 0, SYN, seq), HERE.reverse)
        queue.send(PacketSpec("tcp", 5, ACK, seq + 1, seq + 1))
    assert queue.connmark.connections == 3


def test_after_a_change_they_leave_by_the_new_mark() -> None:
    queue = Queue("pass_through")
    queue.send(DATAGRAM)
    queue.core.replace([load("delay:5ms")], 1 * ms)
    queue.connmark.renew(2)
    queue.send(DATAGRAM, now=2 * ms)
    queue.core.replace([], 3 * ms)
    queue.connmark.renew(3)
    queue.send(DATAGRAM, now=4 * ms)  # the one before is still held
    queue.core.due(10 * ms)
    queue.send(DATAGRAM, now=10 * ms)
    assert queue.marked == [(1, 1), (4, 3)]


def test_while_it_is_paused_or_other_policies_follow_they_stay() -> None:
    queue = Queue("delay:5ms,connections=0%")
    queue.core.pause(0)
    queue.send(DATAGRAM)
    queue.core.resume(1 * ms)
    queue.send(DATAGRAM, now=2 * ms)
    assert [number for number, _ in queue.marked] == [2]
    queue = Queue("pass_through", then=(Following(10 * ms, [load("pass_through")]),))
    for nth in range(4):
        queue.send(DATAGRAM, now=4 * nth * ms)
    assert [number for number, _ in queue.marked] == [4]


class Idle(Policy):
    """Does nothing."""


def test_a_fragment_stays() -> None:
    queue = Queue()
    queue.core = Core([Idle()])
    raw = bytearray(bytes_of(DATAGRAM, HERE, 1))
    raw[6] |= 0x20  # more follow
    packet = Packet(bytes(raw), 1, 0)
    queue.core.receive(packet, 0)
    Connmark(queue.core, lambda *_: True, 1).see([packet])
    assert not queue.core.is_done_with(packet)
