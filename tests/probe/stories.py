"""Runs written by hand: what each end called, and what became of each packet. Times are in ms."""

from __future__ import annotations

from collections.abc import Sequence

from shaper.journal import Held, Record
from shaper.probe.ends.account import Account, Call
from shaper.probe.ends.calls import IN, OUT
from shaper.probe.ends.run import ProbeRun
from shaper.units import ms
from shaper.wire.flow import Flow

THERE = Flow("tcp", "127.0.0.1", 40000, "127.0.0.1", 8765)
BACK = Flow("tcp", "127.0.0.1", 8765, "127.0.0.1", 40000)
FLAGS = {"syn": "S", "synack": "SA", "data": "PA", "fin": "FA", "rst": "RA"}
ISN = {"client": 1000, "server": 5000}


def ns(time: float) -> int:
    return round(time * ms)


def at(time: float) -> int:
    """A time of the story on the kernel's clock."""
    return ns(10_000 + time)


class Story:
    """Collects the calls and packets of one run."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.calls: dict[str, list[Call]] = {"server": [], "client": []}

    def packet(
        self,
        role: str,
        segment: str,
        sent: float,
        delivered: float,
        *,
        byte: int = -1,
        held: Sequence[tuple[str, float]] = (),
        fate: str = "sent",
    ) -> Record:
        """A packet sent by this end; `byte` is where its first byte lies in the stream."""
        policies = held or [("delay", delivered - sent)]
        record = Record(
            id=len(self.records) + 1,
            flow=THERE if role == "client" else BACK,
            kind=segment,
            flags=FLAGS.get(segment, "A"),
            seq=ISN[role] + 1 + byte,
            ack=0,
            length=52,
            arrived=at(sent),
            taken=at(sent),
            fate=fate,
            planned=at(delivered),
            begin=at(delivered),
            end=at(delivered) + 20_000,
            tid=1,
            held=tuple(Held(policy, ns(duration)) for policy, duration in policies if duration),
        )
        self.records.append(record)
        return record

    def call(self, role: str, syscall: str, start: float, end: float, *, result: int = 0, error: str = "") -> None:
        """A call of this end on its connection; a select or poll found it ready unless `result` is 0."""
        flow = THERE if role == "client" else BACK
        wanted = (
            ((flow, OUT if syscall == "pselect6" else IN),) if syscall in ("pselect6", "poll", "epoll_wait") else ()
        )
        counts = syscall in ("recvfrom", "sendto") and not error
        self.calls[role].append(
            Call(
                role=role,
                pid=1 if role == "server" else 2,
                syscall=syscall,
                fd=3,
                start=at(start),
                end=at(end),
                result=result,
                error=error,
                bytes=result if counts else None,
                flow=flow,
                wanted=wanted,
                ready=wanted if result else (),
            )
        )

    def run(self) -> ProbeRun:
        accounts = tuple(Account(role, calls[0].pid, tuple(calls), None) for role, calls in self.calls.items() if calls)
        return ProbeRun(accounts, tuple(self.records))


def handshake(story: Story, delay: float) -> None:
    """A non-blocking connect and the select for it, and an accept that began 5 ms before."""
    story.call("client", "connect", 0, 0.1, error="EINPROGRESS")
    story.packet("client", "syn", 0.05, delay)
    story.packet("server", "synack", delay + 0.1, 2 * delay)
    story.call("client", "pselect6", 0.2, 2 * delay + 0.2, result=1)
    story.packet("client", "handshake-ack", 2 * delay + 0.1, 3 * delay, byte=0)
    story.call("server", "accept4", -5, 3 * delay + 0.3, result=4)


def netcat(delay: float = 100) -> Story:
    """The experiment under a constant delay: ACK, data and FIN arrive together."""
    story = Story()
    handshake(story, delay)
    burst, there = 2 * delay + 0.3, 3 * delay + 0.2
    story.call("client", "sendto", burst, burst + 0.1, result=6)
    story.packet("client", "data", burst + 0.05, there, byte=0)
    story.call("client", "shutdown", burst + 0.2, burst + 0.3)
    story.packet("client", "fin", burst + 0.25, there + 0.1, byte=6)
    story.call("server", "poll", there + 0.2, there + 0.3, result=1)
    story.call("server", "recvfrom", there + 0.3, there + 0.4, result=6)
    story.call("server", "poll", there + 0.4, there + 0.5, result=1)
    story.call("server", "recvfrom", there + 0.5, there + 0.6, result=0)
    story.call("server", "close", there + 0.6, there + 0.7)
    story.packet("server", "fin", there + 0.8, there + delay + 0.8, byte=0)
    story.call("client", "poll", burst + 0.4, there + delay + 1, result=1)
    story.call("client", "recvfrom", there + delay + 1, there + delay + 1.1, result=0)
    return story


def spread() -> Story:
    """The experiment with 100 ms of delay, and packets of a flow 100 ms apart."""
    story = Story()
    handshake(story, 100)
    story.call("client", "sendto", 200.3, 200.4, result=6)
    story.packet("client", "data", 200.35, 400, byte=0, held=[("delay", 100), ("spread_burst", 99.65)])
    story.call("client", "shutdown", 200.5, 200.6)
    story.packet("client", "fin", 200.55, 500, byte=6, held=[("delay", 100), ("spread_burst", 199.45)])
    story.call("server", "poll", 300.5, 400.2, result=1)
    story.call("server", "recvfrom", 400.2, 400.3, result=6)
    story.packet("server", "pure-ack", 400.1, 500.1, byte=0)
    story.call("server", "poll", 400.4, 500.2, result=1)
    story.call("server", "recvfrom", 500.2, 500.3, result=0)
    story.call("server", "close", 500.3, 500.4)
    story.packet("server", "fin", 500.5, 600.5, byte=0)
    story.call("client", "poll", 200.7, 600.7, result=1)
    story.call("client", "recvfrom", 600.7, 600.8, result=0)
    return story


def request(thinking: float = 30) -> Story:
    """Two rounds of a request and a response; the server thinks before it answers."""
    story = Story()
    story.call("client", "connect", 0, 200.2)
    story.packet("client", "syn", 0.1, 100)
    story.packet("server", "synack", 100.1, 200)
    story.packet("client", "handshake-ack", 200.1, 300, byte=0)
    story.call("server", "accept4", -5, 300.2, result=4)
    now = 200.3
    for number in range(2):
        asked, answered = 100 * number, 1000 * number
        story.call("client", "sendto", now, now + 0.1, result=100)
        story.packet("client", "data", now + 0.05, now + 100, byte=asked)
        server_since = 300.3 if number == 0 else now - 100 + 0.2
        story.call("server", "recvfrom", server_since, now + 100.2, result=100)
        sent = now + 100.2 + thinking
        story.call("server", "sendto", sent, sent + 0.1, result=1000)
        story.packet("server", "data", sent + 0.05, sent + 100, byte=answered)
        story.call("client", "recvfrom", now + 0.2, sent + 100.2, result=1000)
        now = sent + 100.3
    # The next packet shows where each response ends.
    story.call("client", "close", now, now + 0.1)
    story.packet("client", "fin", now + 0.05, now + 100, byte=200)
    story.call("server", "recvfrom", now - 99.9, now + 100.2, result=0)
    return story
