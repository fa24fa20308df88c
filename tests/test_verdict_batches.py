"""Verdicts as messages: the kernel's queue does with each packet what its verdict says, in order."""

from struct import Struct

from hypothesis import given
from hypothesis import strategies as st

from shaper.core.verdict import Verdict
from shaper.live.nfqueue import netlink
from shaper.live.nfqueue.verdict_batches import VerdictBatches
from shaper.wire.packet import Packet

QUEUE = 7
message = Struct("=IHHIIBB").unpack_from  # length, type, …, address family, version
answer = Struct(">II").unpack_from  # after the header of the first attribute: what, id


def verdict(id: int, fate: str) -> Verdict:
    packet = Packet(b"%d" % id, id)
    if fate == "rewritten":
        changed = Packet(b"changed %d" % id, id)
        changed.origin = packet
        packet, fate = changed, "sent"
    return Verdict(packet, "dropped" if fate == "dropped" else "sent", 0)


class Kernel:
    """What nfqnl_recv_verdict() and nfqnl_recv_verdict_batch() in the kernel's nfnetlink_queue.c do."""

    def __init__(self) -> None:
        self.held: list[int] = []
        self.done: list[tuple[int, str]] = []
        self.messages = 0

    def read(self, data: bytes) -> None:
        at = 0
        while at < len(data):
            length, kind = message(data, at)[:2]
            what, id = answer(data, at + netlink.HEADERS + netlink.ATTRIBUTE.size)
            is_changed = length > netlink.HEADERS + netlink.ATTRIBUTE.size + 8
            fate = "dropped" if what == netlink.NF_DROP else "rewritten" if is_changed else "sent"
            meant = [id]
            if kind == netlink.VERDICT_BATCH:
                meant = [held for held in self.held if (held - id + (1 << 31)) % (1 << 32) <= 1 << 31]
                assert id in meant
            for each in meant:
                self.held.remove(each)
                self.done.append((each, fate))
            self.messages += 1
            at += length + 3 & ~3


Turn = tuple[int, list[tuple[int, str]], int]
"""How many packets arrive; which of those that wait, by their place among them, then get a verdict; and whether these
are accepted, whatever it is, in runs of this length."""
fates = st.sampled_from(["sent", "sent", "sent", "dropped", "rewritten"])


@given(
    st.lists(
        st.tuples(
            st.integers(0, 6),
            st.lists(st.tuples(st.integers(0, 9), fates), max_size=8),
            st.sampled_from([0, 0, 1, 3, 8]),
        ),
        max_size=40,
    ),
    st.sampled_from([1, (1 << 32) - 20]),
)
def test_whatever_the_order_each_packet_gets_its_verdict(turns: list[Turn], at: int) -> None:
    answers, kernel = VerdictBatches(QUEUE), Kernel()
    said: list[tuple[int, str]] = []
    waiting: list[int] = []
    for arriving, verdicts, length in turns:
        taken = [(at + nth) % (1 << 32) for nth in range(arriving)]
        at += arriving
        kernel.held += taken
        waiting += taken
        answers.expect(taken)
        chosen = [(waiting.pop(nth % len(waiting)), fate) for nth, fate in verdicts if waiting]
        if length:
            ids = [id for id, _ in chosen]
            said += [(id, "sent") for id in ids]
            messages = answers.accept([ids[start : start + length] for start in range(0, len(ids), length)])
        else:
            said += chosen
            messages = answers.messages([verdict(*each) for each in chosen])
        for data in messages:
            kernel.read(data)
        assert kernel.done == said
        assert kernel.held == waiting


def test_packets_that_go_on_in_their_order_need_one_message() -> None:
    answers, kernel = VerdictBatches(QUEUE), Kernel()
    kernel.held = list(range(1, 1001))
    answers.expect(kernel.held)
    (data,) = answers.messages([verdict(id, "sent") for id in range(1, 901)])
    kernel.read(data)
    assert (kernel.messages, len(kernel.done), kernel.held) == (1, 900, list(range(901, 1001)))


def test_packets_without_a_verdict_go_on_with_their_neighbours() -> None:
    """A message that can't be read is about a packet too, and that packet waits."""
    answers, kernel = VerdictBatches(QUEUE), Kernel()
    kernel.held = [1, 2, 3]
    answers.expect([1, 3])
    for data in answers.messages([verdict(1, "sent"), verdict(3, "sent")]):
        kernel.read(data)
    assert kernel.held == []


def test_one_that_waits_long_makes_room_for_those_that_go_on() -> None:
    answers = VerdictBatches(QUEUE)
    answers.expect([1])
    for id in range(2, 300_000):
        answers.expect([id])
        assert len(list(answers.messages([verdict(id, "sent")]))) == 1
        assert len(answers) <= 4 * netlink.MAX_LENGTH
    assert len(list(answers.messages([verdict(1, "sent")]))) == 1
    assert len(answers) == 0


def test_many_that_are_accepted_out_of_turn_are_written_in_several_parts() -> None:
    answers, kernel = VerdictBatches(QUEUE), Kernel()
    kernel.held = list(range(2001))
    answers.expect(kernel.held)
    written = answers.accept([range(start, start + 100) for start in range(1, 2001, 100)])
    for data in written:
        kernel.read(data)
    assert (len(written), kernel.held) == (7, [0])
    (data,) = answers.accept([[0]])
    kernel.read(data)
    assert (kernel.held, len(answers)) == ([], 0)


def test_many_verdicts_are_written_in_several_parts() -> None:
    answers, kernel = VerdictBatches(QUEUE), Kernel()
    kernel.held = list(range(1000))
    answers.expect(kernel.held)
    written = list(answers.messages([verdict(id, "dropped") for id in range(1000)]))
    for data in written:
        kernel.read(data)
    assert (len(written), kernel.held) == (4, [])
