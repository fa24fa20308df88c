"""Every wait explained by held packets, exactly, for runs written by hand."""

import pytest

from shaper.probe.ends.run import ProbeRun
from shaper.probe.explain.blockings import blockings
from shaper.probe.explain.milestones import milestones
from shaper.report.blocking import PARTS, Blocking, because
from tests.probe.stories import Story, handshake, netcat, ns, request, spread


def waits(run: ProbeRun) -> list[tuple[str, str, list[str]]]:
    """The end, what was waited for, and the chain of held packets, the last first."""
    return [
        (each.role, f"{each.syscall}: {each.waited_for}", list(dict.fromkeys(held.kind for held in each.held)))
        for each in blockings(run)
    ]


def the(story: Story, role: str, syscall: str, nth: int = 0) -> Blocking:
    found = [each for each in blockings(story.run()) if (each.role, each.syscall) == (role, syscall)]
    return found[nth]


def total(blocking: Blocking) -> int:
    held = sum(part.duration for part in blocking.held)
    rest: int = sum(getattr(blocking, part) for part in PARTS)
    return held + rest


def test_netcat_under_a_constant_delay() -> None:
    assert waits(netcat().run()) == [
        ("server", "accept4: handshake", ["handshake-ack", "synack", "syn"]),
        ("client", "pselect6: handshake", ["synack", "syn"]),
        ("client", "poll: end of file", ["fin", "fin"][:1]),
    ]
    assert [held.packet for held in the(netcat(), "client", "poll").held] == [6, 5]


def test_netcat_spread() -> None:
    assert waits(spread().run()) == [
        ("server", "accept4: handshake", ["handshake-ack", "synack", "syn"]),
        ("client", "pselect6: handshake", ["synack", "syn"]),
        ("client", "poll: end of file", ["fin"]),
        ("server", "poll: data", ["data"]),
        ("server", "poll: end of file", ["fin"]),
    ]


def test_only_the_part_of_a_hold_inside_the_wait_counts() -> None:
    data = the(spread(), "server", "poll")
    # Held from 200.35 to 400; the server called poll at 300.5, when `delay` had already sent it.
    assert [(held.policy, held.duration, held.hold) for held in data.held] == [("spread_burst", ns(99.5), ns(99.65))]
    end = the(spread(), "client", "poll")
    assert [(held.kind, held.policy, held.duration) for held in end.held] == [
        ("fin", "delay", ns(100)),
        ("fin", "spread_burst", ns(199.45)),
        ("fin", "delay", ns(99.85)),
    ]


def test_request_with_a_server_that_thinks() -> None:
    story = request(thinking=30)
    assert waits(story.run()) == [
        ("server", "accept4: handshake", ["handshake-ack", "synack", "syn"]),
        ("client", "connect: handshake", ["synack", "syn"]),
        ("client", "recvfrom: data", ["data"]),
        ("server", "recvfrom: data", ["data"]),
        ("client", "recvfrom: data", ["data"]),
        ("server", "recvfrom: end of file", ["fin", "data"]),
    ]
    first = the(story, "client", "recvfrom")
    assert [(held.packet, held.hold) for held in first.held] == [(5, ns(99.95)), (4, ns(99.95))]
    # From the request's delivery to the response: 0.2 until its read returned, 30 of thought, 0.05 of the call.
    assert first.peer == ns(30.25)


@pytest.mark.parametrize("story", [netcat(), netcat(10), spread(), request(), request(0)])
def test_the_parts_add_up(story: Story) -> None:
    found = blockings(story.run(), threshold=0)
    assert found
    for blocking in found:
        assert total(blocking) == blocking.duration
        assert 0 <= blocking.unexplained < ns(2)
        assert all(0 < held.duration <= held.hold for held in blocking.held)


def test_the_time_before_the_client_counts_by_itself() -> None:
    accept = the(netcat(), "server", "accept4")
    assert accept.before_client == ns(5.05)
    assert because(accept) == "← ACK(99.9) ← SYN-ACK(99.9) ← SYN(100.0), before client 5.0, unexplained 0.5"


def test_without_a_journal_the_time_before_the_client_is_known_too() -> None:
    story = netcat()
    run = ProbeRun(story.run().accounts)
    accept = next(each for each in blockings(run) if each.syscall == "accept4")
    assert (accept.before_client, accept.held, accept.waker) == (ns(5), (), None)
    assert total(accept) == accept.duration


def test_a_lost_syn_is_a_wait_for_the_retransmission() -> None:
    story = Story()
    story.call("client", "connect", 0, 1200.2)
    story.packet("client", "syn", 0.1, 0.2, fate="dropped")
    story.packet("client", "syn", 1000.1, 1100.1)
    story.packet("server", "synack", 1100.2, 1200.1)
    connect = the(story, "client", "connect")
    assert [(held.packet, held.duration) for held in connect.held] == [(3, ns(99.9)), (2, ns(100))]
    assert connect.retransmission == ns(1000)
    assert [(lost.packet, lost.duration) for lost in connect.dropped] == [(1, ns(1000))]
    assert because(connect) == (
        "← SYN-ACK(99.9) ← SYN(100.0) ← SYN #1 lost, sent again after 1000 ms, before client 0.1, unexplained 0.2"
    )
    assert total(connect) == connect.duration


def test_a_call_that_never_returned() -> None:
    story = Story()
    story.call("client", "connect", 0, 2000, error="EINTR")
    story.packet("client", "syn", 0.1, 0.2, fate="dropped")
    connect = the(story, "client", "connect")
    assert (connect.ended, connect.waker, connect.waited_for) == (False, None, "handshake")
    assert total(connect) == connect.duration


def test_a_poll_that_times_out() -> None:
    story = Story()
    story.call("client", "poll", 0, 1000)
    poll = the(story, "client", "poll")
    assert (poll.waited_for, poll.timer, str(poll.waker)) == ("timeout", ns(1000), "timeout")


def test_a_write_waits_for_acks() -> None:
    story = Story()
    handshake(story, 100)
    # 1000 bytes at once, 1000 more when the first are acknowledged.
    story.call("client", "sendto", 210, 410.5, result=2000)
    story.packet("client", "data", 210.1, 310.1, byte=0)
    story.packet("server", "pure-ack", 310.2, 410.2, byte=0)
    story.packet("client", "data", 410.3, 510.3, byte=1000)
    write = the(story, "client", "sendto")
    assert (write.waited_for, [held.kind for held in write.held]) == ("space", ["pure-ack", "data"])
    assert total(write) == write.duration


def test_what_completed_the_handshake() -> None:
    assert milestones(netcat().run()).completed_by == "ACK"
    story = Story()
    story.call("client", "connect", 0, 200.2)
    story.packet("client", "syn", 0.1, 100)
    story.packet("server", "synack", 100.1, 200)
    story.packet("client", "handshake-ack", 200.1, 450, byte=0)
    story.packet("client", "data", 200.3, 300, byte=0)
    story.call("server", "accept4", 0, 300.2, result=4)
    reached = milestones(story.run())
    assert (reached.completed_by, reached.connected, reached.accepted) == ("data", ns(200.2), ns(300.2))
