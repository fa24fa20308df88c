"""One change of options at a time: held packets keep their plan, and each object keeps its state."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import pytest

from shaper import Answer, Duration, Hold, Packet, Policy, Send, Wake, ms
from shaper.core.change import Change, ChangeError
from shaper.core.core import Core
from shaper.spec.load import LoadError, format_options, load, parse_options
from shaper.units import Limit, s
from shaper.wire.segment import CLASSES
from tests.cores import ENDS, Said, run, udp


class Counts(Policy):
    """Delays by `time`, and counts its packets; holds the first."""

    time: Duration = 100 * ms

    def start(self) -> None:
        self.told: list[Collection[str]] = []
        self.seen = 0

    def on_change(self, changed: Collection[str]) -> None:
        self.told.append(set(changed))
        if self.time < 0:
            raise ValueError("time goes forward")

    def on_packet(self, packet: Packet, now: int) -> Answer:
        self.seen += 1
        OBJECTS[id(self)] = self
        return Send(packet, at=now + self.time)


OBJECTS: dict[int, Counts] = {}


@pytest.fixture(autouse=True)
def _no_objects() -> None:
    OBJECTS.clear()


def time_of(core: Core) -> object:
    """The option `time` of the first stage."""
    return vars(core.prototypes[0]).get("time", type(core.prototypes[0]).__dict__.get("time"))


def with_change(
    pipeline: Sequence[Policy], *arrivals: Packet, at: int, then: Callable[[Core, int], None]
) -> tuple[Core, Said]:
    core = Core(pipeline)
    before = [packet for packet in arrivals if packet.arrived < at]
    said = []
    for packet in before:
        core.receive(packet, packet.arrived)
        said += [(v.packet.root.id, v.fate, v.planned) for v in core.due(packet.arrived)]
    then(core, at)
    said += [(v.packet.root.id, v.fate, v.planned) for v in core.due(at)]
    return core, said + run(core, *arrivals[len(before) :])


def test_held_packets_keep_their_plan_and_go_first() -> None:
    core, said = with_change(
        [load("delay:100ms")],
        *(udp(1), udp(2, 40 * ms), udp(3, 60 * ms), udp(4, 60 * ms, ENDS._replace(sport=7)), udp(5, 135 * ms)),
        at=50 * ms,
        then=lambda core, now: core.change("delay", {"time": 10 * ms}, now, {"time": "10ms"}),
    )
    assert said == [
        (4, "sent", 70 * ms),  # another flow doesn't wait
        (1, "sent", 100 * ms),
        (2, "sent", 140 * ms),
        (3, "sent", 140 * ms),  # due at 70 ms
        (5, "sent", 145 * ms),
    ]
    assert core.changes == [Change(50 * ms, 2, "change", stage="delay", options={"time": "10ms"})]
    assert time_of(core) == 10 * ms


def test_with_order_free_later_packets_may_overtake() -> None:
    _, said = with_change(
        [load("delay:100ms,order=free")],
        *(udp(1), udp(2, 60 * ms)),
        at=50 * ms,
        then=lambda core, now: core.change("delay", {"time": 10 * ms}, now),
    )
    assert said == [(2, "sent", 70 * ms), (1, "sent", 100 * ms)]


def test_order_free_takes_effect_with_the_change_that_sets_it() -> None:
    _, said = with_change(
        [load("delay:100ms")],
        *(udp(1), udp(2, 60 * ms)),
        at=50 * ms,
        then=lambda core, now: core.change("delay", {"time": 10 * ms, "order": "free"}, now),
    )
    assert said == [(2, "sent", 70 * ms), (1, "sent", 100 * ms)]


def test_an_object_goes_on_and_is_told_once_of_all_that_was_changed() -> None:
    core = Core([Counts()])
    run(core, udp(1), until=0)
    core.change("test_change", {"time": 5 * ms}, 1)
    core.change("test_change", {"time": 6 * ms, "only": frozenset(("udp",))}, 2)
    assert run(core, udp(2, 3), udp(3, 4)) == [
        (1, "sent", 100 * ms),
        (2, "sent", 100 * ms),
        (3, "sent", 100 * ms),
    ]
    (counts,) = OBJECTS.values()
    assert (counts.seen, counts.told) == (3, [{"time", "only"}])


def test_objects_made_after_a_change_have_its_values_and_are_not_told() -> None:
    core = Core([Counts()])
    core.change("test_change", {"time": 5 * ms}, 0)
    assert run(core, udp(1)) == [(1, "sent", 5 * ms)]
    (counts,) = OBJECTS.values()
    assert counts.told == []


def test_an_object_is_told_before_its_wake() -> None:
    class Wakes(Counts):
        def on_packet(self, packet: Packet, now: int) -> Answer:
            self._kept = packet
            OBJECTS[id(self)] = self
            return [Hold(packet), Wake(now + 10 * ms)]

        def on_wake(self, now: int) -> Answer:
            return Send(self._kept, at=now + self.time)

    core = Core([Wakes()])
    run(core, udp(1), until=0)
    core.change("test_change", {"time": 5 * ms}, 1)
    assert run(core) == [(1, "sent", 15 * ms)]


@pytest.mark.parametrize(
    ("stage", "values", "why"),
    [
        ("loss", {}, "there is no stage 'loss'; there is test_change, delay, delay#2"),
        ("delay#2", {"tme": 1}, "delay#2 has no option 'tme'; it has time, jitter"),
        ("delay", {"scope": "queue"}, "delay: scope can't be changed while packets flow; replace the pipeline instead"),
        ("test_change", {"time": -1}, "test_change: time goes forward"),
    ],
)
def test_what_is_refused_changes_nothing(stage: str, values: dict[str, Any], why: str) -> None:
    core = Core([Counts(), load("delay:10ms"), load("delay:20ms")])
    with pytest.raises(ChangeError) as error:
        core.change(stage, values, 0)
    assert str(error.value).startswith(why)
    assert (core.changes, core.failures) == ([], [])
    assert time_of(core) == 100 * ms
    assert run(core, udp(1)) == [(1, "sent", 130 * ms)]
    (counts,) = OBJECTS.values()
    assert counts.told == []


def test_a_hook_that_raises_anything_else_refuses_too_and_says_where() -> None:
    class Faulty(Policy):
        def on_change(self, changed: Collection[str]) -> None:
            raise RuntimeError("broken")

    core = Core([Faulty()])
    with pytest.raises(ChangeError, match=r"test_change failed at .*test_change.py:\d+: RuntimeError: broken"):
        core.change("test_change", {"only": frozenset(("udp",))}, 0)
    assert core.failures == []


def test_an_object_whose_hook_raises_later_fails_open() -> None:
    class Later(Counts):
        def on_change(self, changed: Collection[str]) -> None:
            if self.seen:
                raise RuntimeError("only with packets")

    core = Core([Later(), load("delay:1ms")])
    run(core, udp(1), until=0)
    core.change("test_change", {"time": 5 * ms}, 0)
    assert run(core, udp(2), udp(3, 0, ENDS._replace(sport=7))) == [
        (3, "sent", 6 * ms),  # a flow without an object so far
        (1, "sent", 101 * ms),
        (2, "sent", 101 * ms),
    ]
    assert [failure.what for failure in core.failures] == ["RuntimeError: only with packets"]


def test_the_same_scope_is_no_change_of_scope() -> None:
    core = Core([load("delay:10ms")])
    core.change("delay", {"scope": "flow", "time": 1 * ms}, 0)
    assert run(core, udp(1)) == [(1, "sent", 1 * ms)]


def test_selection_is_changed() -> None:
    core = Core([load("loss:100%")])
    assert run(core, udp(1)) == [(1, "dropped", 0)]
    core.change("loss", {"only": frozenset(("data",))}, 0)
    assert run(core, udp(2)) == [(2, "sent", 0)]
    core.change("loss", {"only": frozenset(CLASSES), "direction": "reply"}, 0)
    assert run(core, udp(3), udp(4, 0, ENDS.reverse)) == [(3, "sent", 0), (4, "dropped", 0)]


def test_the_share_of_connections_is_changed_for_those_that_are_open() -> None:
    core = Core([Counts(connections=0.0)])
    assert run(core, udp(1)) == [(1, "sent", 0)]
    core.change("test_change", {"connections": 1.0}, 0)
    assert run(core, udp(2), until=0) == []
    core.change("test_change", {"connections": 0.0}, 1)
    assert run(core, udp(3, 1), until=1) == []  # its turn comes after the one that is held
    assert run(core) == [(2, "sent", 100 * ms), (3, "sent", 100 * ms)]
    core.change("test_change", {"connections": 1.0, "time": 0}, s)
    assert run(core, udp(4, s)) == [(4, "sent", s)]


def test_a_limit_is_removed_and_set_again() -> None:
    core = Core([load("delay:10ms,limit=1,scope=queue")])
    assert run(core, udp(1), udp(2), until=0) == [(2, "dropped", 0)]
    core.change("delay", {"limit": Limit()}, 0)
    assert run(core, udp(3), until=0) == []
    core.change("delay", {"limit": Limit(2)}, 0)
    assert run(core, udp(4), until=0) == [(4, "dropped", 0)]
    assert run(core, udp(5, 10 * ms)) == [(1, "sent", 10 * ms), (3, "sent", 10 * ms), (5, "sent", 20 * ms)]


def test_options_are_parsed_and_formatted() -> None:
    delay = load("delay:10ms")
    assert parse_options(delay, {"time": "50ms", "limit": "10"}) == {"time": 50 * ms, "limit": Limit(10)}
    formatted = format_options(delay)
    assert (formatted["time"], formatted["order"], formatted["scope"]) == ("10ms", "keep", "flow")
    assert parse_options(delay, {"limit": formatted["limit"]}) == {"limit": Limit()}


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"tme": "1ms"}, "delay has no option 'tme' (did you mean 'time'?); it has time, jitter"),
        ({"time": "soon"}, "delay: option time: "),
        ({"time": "11s"}, "delay: time=11s is longer than any packet may be held; lower it, or raise --max-hold"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, str], why: str) -> None:
    with pytest.raises(LoadError) as error:
        parse_options(load("delay:10ms"), options)
    assert str(error.value).startswith(why)
