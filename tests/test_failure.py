"""The contract of a policy: what happens when one fails."""

from __future__ import annotations

import sys
import weakref
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from shaper import Answer, Drop, Hold, Packet, Policy, Send, Wake, ms
from shaper.core.core import Core
from shaper.core.failure import Failure, PoliciesFailed
from shaper.timeline.packet_spec import Ends
from tests import cores
from tests.cores import ENDS, HALF, NOTHING, Keeps, answering, run, udp


class Breaks(Keeps):
    def on_packet(self, packet: Packet, now: int) -> Answer:
        if packet.id == 3:
            raise ValueError("three is too many")
        return super().on_packet(packet, now)


def test_a_failed_policy_lets_go_of_all_it_holds_and_is_passed_by() -> None:
    core = Core([Breaks()])
    fates = run(core, udp(1), udp(2, ms), udp(3, 2 * ms), udp(4, 3 * ms))
    assert fates == [(1, "sent", 2 * ms), (2, "sent", 2 * ms), (3, "sent", 2 * ms), (4, "sent", 3 * ms)]
    (failure,) = core.failures
    line = next(n for n, text in enumerate(Path(__file__).read_text().splitlines(), 1) if "three is too many" in text)
    assert failure.where == f"{__file__}:{line}"
    assert str(failure) == f"policy test_failure failed at {__file__}:{line}: ValueError: three is too many"
    assert "Traceback" in failure.details


def test_a_failure_is_one_objects_alone() -> None:
    class Half(Policy):
        def on_packet(self, packet: Packet, now: int) -> Answer:
            if packet.direction == "reply":
                raise ValueError
            return Send(packet, at=now + ms)

    core = Core([Half()])
    assert run(core, udp(1), udp(2, 0, ENDS.reverse), udp(3)) == [(2, "sent", 0), (1, "sent", ms), (3, "sent", ms)]


def test_all_policies_can_fail_together() -> None:
    class Keep(Policy):
        def on_packet(self, packet: Packet, now: int) -> Answer:
            return Hold(packet) if packet.id < 3 else Send(packet, at=now + ms)

    core = Core([Policy(), Keep()])
    for packet in (udp(1), udp(3), udp(2)):
        core.receive(packet, 0)
    verdicts = core.give_up(MemoryError("no more"))
    assert [verdict.packet.id for verdict in verdicts] == [1, 2, 3]
    assert [failure.what for failure in core.failures] == ["MemoryError: no more"] * 2
    assert run(core, udp(1, at=2 * ms)) == [(1, "sent", 2 * ms)]


def test_later_stages_still_see_what_a_failed_one_lets_go() -> None:
    core = Core([Breaks(), answering(lambda packet, now: Drop(packet))])
    assert {fate for _, fate, _ in run(core, udp(1), udp(2), udp(3))} == {"dropped"}


def test_a_policy_that_cannot_start_is_passed_by() -> None:
    class Never(Policy):
        def start(self) -> None:
            raise OSError("no")

    core = Core([Never()])
    assert run(core, udp(1), udp(2)) == [(1, "sent", 0), (2, "sent", 0)]
    assert [failure.what for failure in core.failures] == ["OSError: no"]


def test_a_policy_that_fails_for_every_flow_fills_no_memory() -> None:
    class Never(Policy):
        def on_packet(self, packet: Packet, now: int) -> Answer:
            raise ValueError("no")

    core = Core([Never()])
    for number in range(1000):
        core.receive(udp(number + 1, 0, Ends("192.0.2.1", number + 1, "192.0.2.2", 80)), 0)
    assert (core.counts.sent, core.failures.total, len(core.failures)) == (1000, 1000, 10)
    assert str(PoliciesFailed(core.failures)).endswith("(and 999 more failures)")


def test_an_answer_without_an_end_is_a_failure() -> None:
    core = Core([answering(lambda packet, now: (Wake(now + ms) for _ in count()))])
    assert run(core, udp(1), udp(2)) == [(1, "sent", 0), (2, "sent", 0)]
    assert "answered with more than 131072 actions" in core.failures[0].what


def test_a_policy_that_exits_ends_nothing_but_itself() -> None:
    core = Core([answering(lambda packet, now: sys.exit("enough"))])
    assert run(core, udp(1), udp(2)) == [(1, "sent", 0), (2, "sent", 0)]
    assert core.failures[0].what == "SystemExit: enough"


def test_an_answer_that_breaks_half_way_keeps_what_was_done() -> None:
    core = Core([answering(lambda packet, now: [Send(packet, at=now + ms), Drop(Packet(packet.raw))])])
    assert run(core, udp(1), udp(2)) == [(2, "sent", 0), (1, "sent", ms)]
    assert len(core.failures) == 1


@pytest.mark.parametrize(
    ("error", "what"),
    [(KeyError(), "KeyError"), (ValueError("one\ntwo"), "ValueError: one"), (ValueError("no"), "ValueError: no")],
)
def test_a_failure_is_one_line(error: Exception, what: str) -> None:
    class Raises(Policy):
        def on_packet(self, packet: Packet, now: int) -> Answer:
            raise error

    core = Core([Raises()])
    run(core, udp(1))
    assert [failure.what for failure in core.failures] == [what]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda packet, now: packet, "a hook returns Send, Drop, Hold, Wake, several of these, or None"),
        (lambda packet, now: 5, "returned 5; a hook returns"),
        (lambda packet, now: False, "returned False; a hook returns"),
        (lambda packet, now: "nonsense", "returned 'nonsense'; a hook returns"),
        (lambda packet, now: "", "returned ''; a hook returns"),
        (lambda packet, now: b"send", "returned b'send'; a hook returns"),
        (lambda packet, now: bytearray(b"send"), "returned bytearray(b'send'); a hook returns"),
        (lambda packet, now: {}, "returned {}; a hook returns"),
        (lambda packet, now: {"at": now}, "returned {'at': 0}; a hook returns"),
        (lambda packet, now: "n" * 1000, f"returned '{'n' * 78}…; a hook returns"),
        (lambda packet, now: ["send"], "returned a list with 'send' in it; a hook returns"),
        (lambda packet, now: packet.flow, "returned a Flow with 'udp' in it; a hook returns"),
        (lambda packet, now: Send, "a hook returns"),
        (lambda packet, now: [Send(packet), None], "returned a list with None in it; a hook returns"),
        (lambda packet, now: Send(packet.raw), "Send takes a packet, not b"),
        (
            lambda packet, now: Send(packet, at=now + 1.5),
            "Send takes its time as int nanoseconds, such as now + 20 * ms",
        ),
        (lambda packet, now: Wake(HALF), "Wake takes its time as int nanoseconds"),
        (lambda packet, now: Wake(NOTHING), "Wake takes its time as int nanoseconds"),
        (lambda packet, now: Drop(Packet(b"new")), "does not hold this packet"),
        (lambda packet, now: [Send(packet), Drop(packet)], "does not hold this packet"),
        (lambda packet, now: 1 // 0, "ZeroDivisionError"),
    ],
)
def test_an_answer_that_makes_no_sense_is_reported_and_the_packet_goes_on(answer: Any, message: str) -> None:
    core = Core([answering(answer)])
    assert run(core, udp(1), udp(2)) == [(1, "sent", 0), (2, "sent", 0)]
    assert message in core.failures[0].what
    assert core.failures[0].where.startswith(f"{cores.__file__}:")
    assert core.failures[0].where.rpartition(":")[2].isdigit()


def test_the_message_about_failures_counts_the_others() -> None:
    first, second = (Failure("loss", f"loss.py:{line}", "ValueError: no", f"traceback {line}") for line in (3, 4))
    assert str(PoliciesFailed([first])) == "policy loss failed at loss.py:3: ValueError: no"
    both = PoliciesFailed([first, second])
    assert str(both) == "policy loss failed at loss.py:3: ValueError: no (and 1 more failures)"
    assert both.details == "traceback 3\ntraceback 4"


def test_a_failure_has_its_traceback_and_frees_what_the_hook_held() -> None:
    class Gathers(Policy):
        def on_packet(self, packet: Packet, now: int) -> Answer:
            gathered = Gathered()
            held.append(weakref.ref(gathered))
            raise ValueError("too many")

    class Gathered:
        """Stands for what may fill the memory."""

    held: list[weakref.ref[Gathered]] = []
    core = Core([Gathers()])
    assert run(core, udp(1)) == [(1, "sent", 0)]
    assert held[0]() is None
    (failure,) = core.failures
    assert failure.details.startswith("Traceback (most recent call last):\n")
    assert failure.details.endswith("ValueError: too many\n")
    assert failure.details.count("Traceback") == 1


def test_all_policies_that_are_given_up_are_named() -> None:
    core = Core([Policy(), Breaks()])
    core.receive(udp(1), 0)
    core.give_up(MemoryError("full"))
    assert [(failure.policy, failure.what) for failure in core.failures] == [
        ("base", "MemoryError: full"),
        ("test_failure", "MemoryError: full"),
    ]


def test_a_failed_object_sees_no_packet_any_more_and_a_fresh_one_does() -> None:
    seen: list[int] = []

    class FailsOnce(Policy):
        def on_packet(self, packet: Packet, now: int) -> Answer:
            seen.append(packet.id)
            raise ValueError("no")

    core = Core([FailsOnce()])
    run(core, udp(1), udp(2), udp(3, ends=ENDS.reverse), udp(4, ends=ENDS.reverse))
    assert seen == [1, 3]
