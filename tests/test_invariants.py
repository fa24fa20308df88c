"""What holds for every policy whatever it says: the core's invariants, with policies made of random moves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import cycle, pairwise
from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from shaper import Answer, Drop, Hold, Limit, Packet, Policy, Send, TruncatedPacket, Wake, ms
from shaper.core.core import Core, Following
from shaper.core.verdict import Verdict
from shaper.wire.segment import CLASSES
from tests.examples import examples
from tests.traffic import anew, traffic

MAX_HOLD = 60 * ms


class Move(NamedTuple):
    """What a puppet does when its turn comes: a verb, how far in the future, and with which of its packets."""

    verb: str
    offset: int
    which: int


VERBS = (
    "silent",
    "send",
    "now",
    "drop",
    "hold",
    "twice",
    "rewrite",
    "new",
    "release",
    "release all",
    "discard",
    "wake",
)
moves = st.builds(
    Move,
    st.sampled_from(VERBS),
    st.sampled_from((-5 * ms, 0, 1, 2 * ms, 7 * ms, 40 * ms, MAX_HOLD, 90 * ms)),
    st.integers(0, 3),
)


class Puppet(Policy):
    """Does its moves one after the other, and the same on waking as far as they make sense there."""

    moves: tuple[Move, ...] = ()

    def start(self) -> None:
        self._turns: Iterator[Move] = cycle(self.moves)
        self._held: list[Packet] = []
        # A finite number of wakes, so that every run ends.
        self._wakes = 20

    def on_packet(self, packet: Packet, now: int) -> Answer:
        move = next(self._turns)
        at = now + move.offset
        match move.verb:
            case "send":
                return Send(packet, at=at)
            case "now":
                return [Send(packet)]
            case "drop":
                return Drop(packet)
            case "hold":
                self._held.append(packet)
                return (action for action in (Hold(packet), Wake(at)))
            case "twice" if not packet.truncated:
                return (Send(packet, at=at), Send(packet))
            case "rewrite":
                try:
                    return Send(packet.with_raw(packet.raw + b"!", fix=False), at=at)
                except TruncatedPacket:
                    return None
            case "new":
                return [Send(Packet(packet.raw), at=at), Send(packet, at=at)]
        return self._about_held(move, at)

    def on_wake(self, now: int) -> Answer:
        move = next(self._turns)
        return self._about_held(move, now + move.offset)

    def _about_held(self, move: Move, at: int) -> Answer:
        if move.verb == "wake" and self._wakes:
            self._wakes -= 1
            return Wake(at)
        if not self._held:
            return None
        if move.verb == "release all":
            released, self._held = self._held[::-1], []
            return [Send(packet, at=at) for packet in released]
        packet = self._held.pop(move.which % len(self._held))
        if move.verb == "discard":
            return Drop(packet)
        if move.verb == "rewrite" and not packet.truncated:
            return Send(packet.with_raw(packet.raw + b"?", fix=False), at=at)
        return Send(packet, at=at)


puppets = st.builds(
    Puppet,
    moves=st.lists(moves, min_size=1, max_size=12).map(tuple),
    scope=st.sampled_from(("flow", "connection", "queue")),
    direction=st.sampled_from(("original", "reply", "both", "both")),
    only=st.one_of(st.just(frozenset(CLASSES)), st.sets(st.sampled_from(CLASSES), min_size=1).map(frozenset)),
)
pipelines = st.lists(puppets, min_size=1, max_size=3)


def play(
    pipeline: list[Puppet], packets: list[Packet], *, then: Sequence[Following] = (), patient: bool = False
) -> tuple[Core, list[Verdict]]:
    """All packets through a core; if patient, it is asked for what is due only when another packet has come."""
    core = Core(pipeline, seed=1, max_hold=MAX_HOLD, then=then)
    verdicts: list[Verdict] = []
    for packet in packets:
        while not patient and (deadline := core.next_deadline()) is not None and deadline < packet.arrived:
            verdicts += core.due(deadline)
        core.receive(packet, packet.arrived)
    while (deadline := core.next_deadline()) is not None:
        verdicts += core.due(deadline)
    return core, verdicts + core.due(packets[-1].arrived if packets else 0)


def told(verdicts: list[Verdict]) -> list[tuple[int, bytes, str, int, tuple[tuple[str, int], ...]]]:
    return [
        (verdict.packet.root.id, verdict.packet.raw, verdict.fate, verdict.planned, verdict.packet.hold_times)
        for verdict in verdicts
    ]


def check(core: Core, packets: list[Packet], verdicts: list[Verdict]) -> None:
    """One verdict for each packet, none early, none late, in the order of time, and all counted."""
    assert [str(failure) for failure in core.failures] == []
    fates = [verdict.fate for verdict in verdicts]
    taken = [verdict for verdict in verdicts if verdict.fate != "injected"]
    assert sorted(verdict.packet.root.id for verdict in taken) == [packet.id for packet in packets]
    assert (core.counts.taken, core.counts.held) == (len(packets), 0)
    assert (core.counts.sent, core.counts.dropped, core.counts.injected) == (
        fates.count("sent"),
        fates.count("dropped"),
        fates.count("injected"),
    )
    assert all(earlier.planned <= later.planned for earlier, later in pairwise(verdicts))
    for verdict in verdicts:
        wait = verdict.planned - verdict.packet.root.arrived
        assert 0 <= wait <= MAX_HOLD
        # All time that passes is somebody's hold, so what is told of a packet's delay adds up.
        assert sum(duration for _, duration in verdict.packet.hold_times) == wait
        assert (verdict.packet.root.id == 0) == (verdict.fate == "injected")


@given(pipelines, traffic())
@examples(200)
def test_each_packet_gets_one_verdict_in_its_time(pipeline: list[Puppet], packets: list[Packet]) -> None:
    core, verdicts = play(pipeline, anew(packets))
    check(core, packets, verdicts)
    assert core.next_deadline() is None


@given(puppets, traffic())
@examples(100)
def test_a_stage_did_what_became_of_the_packets(puppet: Puppet, packets: list[Packet]) -> None:
    core, verdicts = play([puppet], anew(packets))
    (stage,) = core.stages.values()
    assert stage.dropped == core.counts.dropped
    assert stage.touched == any(each.fate != "sent" or each.rewritten or each.packet.hold_times for each in verdicts)


@given(pipelines, traffic())
@examples(100)
def test_how_often_the_core_is_asked_makes_no_difference(pipeline: list[Puppet], packets: list[Packet]) -> None:
    _, eager = play(pipeline, anew(packets))
    _, patient = play(pipeline, anew(packets), patient=True)
    assert told(eager) == told(patient)


@given(pipelines, traffic(), st.data())
@examples(100)
def test_close_lets_all_go_in_order_of_arrival(
    pipeline: list[Puppet], packets: list[Packet], data: st.DataObject
) -> None:
    if not packets:
        return
    last = data.draw(st.integers(1, len(packets)))
    core = Core(pipeline, seed=1, max_hold=MAX_HOLD)
    before: list[Verdict] = []
    for packet in anew(packets[:last]):
        core.receive(packet, packet.arrived)
        before += core.due(packet.arrived)
    waiting = core.counts.held
    closing = core.close()
    check(core, packets[:last], before + closing)
    assert [verdict.fate for verdict in closing].count("sent") == waiting
    order = [(verdict.packet.root.arrived, verdict.packet.root.id) for verdict in closing]
    assert order == sorted(order)
    assert core.next_deadline() is None
    assert core.close() == []


@given(pipelines, traffic())
@examples(50)
def test_the_same_again_gives_the_same(pipeline: list[Puppet], packets: list[Packet]) -> None:
    assert told(play(pipeline, anew(packets))[1]) == told(play(pipeline, anew(packets))[1])


class Fails(Puppet):
    """Raises at one of its turns, perhaps after some actions."""

    after: int = 1

    def start(self) -> None:
        super().start()
        self._calls = 0

    def on_packet(self, packet: Packet, now: int) -> Answer:
        self._count()
        return super().on_packet(packet, now)

    def on_wake(self, now: int) -> Answer:
        self._count()
        return super().on_wake(now)

    def _count(self) -> None:
        self._calls += 1
        if self._calls == self.after:
            raise RuntimeError("enough")


failing = st.builds(
    Fails,
    moves=st.lists(moves, min_size=1, max_size=12).map(tuple),
    scope=st.sampled_from(("flow", "connection", "queue")),
    after=st.integers(1, 10),
)


@given(st.lists(st.one_of(failing, puppets), min_size=1, max_size=3), traffic())
@examples(100)
def test_a_policy_that_raises_fails_open(pipeline: list[Puppet], packets: list[Packet]) -> None:
    core, verdicts = play(pipeline, anew(packets))
    for failure in core.failures:
        assert "test_invariants.py:" in failure.where
        assert failure.what == "RuntimeError: enough"
    core.failures.clear()
    check(core, packets, verdicts)


@given(
    puppets,
    traffic(),
    st.one_of(st.integers(1, 4).map(Limit), st.integers(1, 3000).map(lambda size: Limit(None, size))),
)
@examples(100)
def test_a_limit_is_never_exceeded(puppet: Puppet, packets: list[Packet], limit: Limit) -> None:
    # Duplicates and new packets are the policy's own, so they aren't dropped; they are left out here.
    usual = tuple(move for move in puppet.moves if move.verb not in ("twice", "new")) or (Move("send", 5 * ms, 0),)
    core = Core([Puppet(moves=usual, scope="queue", limit=limit)], max_hold=MAX_HOLD)
    held: dict[int, int] = {}
    for packet in anew(packets):
        core.receive(packet, packet.arrived)
        held[packet.id] = packet.length
        for verdict in core.due(packet.arrived):
            del held[verdict.packet.root.id]
        assert len(held) == core.counts.held
        assert limit.packets is None or len(held) <= limit.packets
        assert limit.bytes is None or sum(held.values()) <= limit.bytes
    core.close()
    assert core.counts.overflowed <= core.counts.dropped
    assert core.counts.sent + core.counts.dropped == len(packets)


@given(st.lists(st.builds(Policy, scope=st.sampled_from(("flow", "connection", "queue"))), max_size=3), traffic())
def test_silence_changes_nothing(pipeline: list[Policy], packets: list[Packet]) -> None:
    core = Core(pipeline)
    verdicts = []
    for packet in anew(packets):
        core.receive(packet, packet.arrived)
        verdicts += core.due(packet.arrived)
    assert [verdict.packet.root.id for verdict in verdicts] == [packet.id for packet in packets]
    assert all(verdict.planned == verdict.packet.arrived and not verdict.rewritten for verdict in verdicts)


@given(traffic(), st.lists(st.sampled_from((0, 3 * ms, 5 * ms)), min_size=1, max_size=5))
def test_equal_times_keep_the_order_of_arrival(packets: list[Packet], delays: list[int]) -> None:
    moves = tuple(Move("send", delay, 0) for delay in delays)
    _, verdicts = play([Puppet(moves=moves, scope="queue")], anew(packets))
    order = [(verdict.planned, verdict.packet.root.id) for verdict in verdicts]
    assert order == sorted(order)
