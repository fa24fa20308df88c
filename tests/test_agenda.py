"""The agenda against a plain sort."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shaper.core import agenda as agenda_module
from shaper.core.agenda import Agenda
from shaper.core.counts import StageCounts
from shaper.core.instances import Place, PolicyInstance
from shaper.policy.base import Policy
from shaper.wire.packet import Packet

INSTANCE = PolicyInstance(Policy(), Place("x", 0, StageCounts()))
plans = st.lists(st.tuples(st.integers(0, 20), st.booleans()))


def add(agenda: Agenda, at: int, far: bool) -> int:
    return agenda.add_far(at, INSTANCE, None) if far else agenda.add(at, INSTANCE, None)


@given(plans)
def test_entries_come_by_time_then_in_the_order_of_planning(planned: list[tuple[int, bool]]) -> None:
    agenda = Agenda()
    entries = [(at, add(agenda, at, far)) for at, far in planned]
    assert len(agenda) == len(entries)
    came = []
    while (first := agenda.first()) is not None:
        assert agenda.pop() == first
        came.append(first[:2])
    assert came == sorted(entries)
    assert len(agenda) == 0


@given(plans, plans)
def test_what_is_planned_on_the_way_takes_its_place(
    before: list[tuple[int, bool]], after: list[tuple[int, bool]]
) -> None:
    agenda = Agenda()
    left = sorted((at, add(agenda, at, far)) for at, far in before)
    for at, far in after:
        if left:
            assert agenda.pop()[:2] == left.pop(0)
        left = sorted([*left, (at, add(agenda, at, far))])
    assert [agenda.pop()[:2] for _ in range(len(agenda))] == left


def test_entries_that_later_plans_replaced_are_removed_once_they_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agenda_module, "TOO_MANY_REPLACED", 3)
    agenda, instance = Agenda(), PolicyInstance(Policy(), Place("x", 0, StageCounts()))
    for begin, before in ((100, 0), (200, 1)):
        for nth in range(4):
            instance.plan = agenda.add(begin + nth, instance, None)
            assert len(agenda) == before + nth + 1
            if nth < 3:
                agenda.note_replaced()
        agenda.note_replaced()
        assert len(agenda) == 1
        assert agenda.next_time() == begin + 3


@given(st.lists(st.tuples(st.integers(0, 20), st.booleans(), st.booleans())))
def test_packets_that_need_no_entry_come_first_only_if_they_are(planned: list[tuple[int, bool, bool]]) -> None:
    agenda, plain = Agenda(), Agenda()
    for nth, (at, far, is_packet) in enumerate(planned):
        for each in (agenda, plain):
            packet = Packet(b"", nth + 1) if is_packet else None
            if packet is not None:
                packet.holder = INSTANCE
            number = each.add_far(at, INSTANCE, packet) if far else each.add(at, INSTANCE, packet)
            assert number == nth + 1
    while len(plain):
        at, number, _, expected = plain.pop()
        earliest, packet = agenda.earliest, agenda.pop_packet()
        if packet is not None:
            found = [packet.due, packet.plan]
        else:
            *found, _, packet = agenda.pop()
        assert (earliest, *found) == (at, at, number)
        assert (packet and packet.id) == (expected and expected.id)
    assert agenda.pop_packet() is None
    assert agenda.earliest == plain.earliest
