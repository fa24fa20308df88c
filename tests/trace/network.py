"""Stories with packets: each is in the trace when it is sent, and in the journal when shaper has let it go on."""

from typing import Self

from shaper.journal import Held, Record
from shaper.trace.read.events import TraceEvent
from shaper.units import us
from shaper.wire.flow import Flow
from tests.trace.story import Story

ENGINE = 9
HEADERS = 52
"""Bytes of the IP and TCP headers, with the option of time stamps."""
TO_SERVER = Flow("tcp", "127.0.0.1", 40000, "127.0.0.1", 80)


class Network(Story):
    """A story of tasks whose packets the engine holds; times in µs.

    Attributes:
        records: the journal.
    """

    def __init__(self) -> None:
        super().__init__()
        self.records: list[Record] = []

    def send(
        self, at: int, tid: int, kind: str, *, length: int = HEADERS, seq: int = 0, ack: int = 0, back: bool = False,
        hold: int = 100, policy: str = "delay", dropped: bool = False, flow: Flow = TO_SERVER, cpu: int = 0,
        unseen: bool = False,
    ) -> Record:  # fmt: skip
        """The task sends a packet, which arrives 4 µs later, and which the engine holds for so long, or drops.

        Args:
            back: from the server to the client.
            unseen: the trace doesn't have it, as where the packet is a part of a larger one.
        """
        if not unseen:
            self.add(at, tid, "net_dev_queue", cpu, len=length)
        begin = at + 4 + (0 if dropped else hold)
        record = Record(
            id=len(self.records) + 1, flow=flow.reverse if back else flow, kind=kind, flags="A", seq=seq, ack=ack,
            length=length, arrived=(at + 4) * us, taken=(at + 5) * us, fate="dropped" if dropped else "sent",
            planned=begin * us, begin=begin * us, end=(begin + (0 if dropped else 8)) * us, tid=ENGINE,
            held=() if dropped or not hold else (Held(policy, hold * us),), by=policy if dropped else "",
        )  # fmt: skip
        self.records.append(record)
        return record

    def deliver(self, record: Record, tid: int) -> Self:
        """The packet's delivery wakes the task, which runs as soon as the engine has written the verdict."""
        at = record.begin // us + 3
        self.wake(at, ENGINE, tid).switch(at + 6, ENGINE, "S", tid)
        return self

    def timer(self, at: int, name: str = "TIMER", cpu: int = 0) -> Self:
        """The CPU is in this softirq from now on, for 6 µs; or in this function of an hrtimer."""
        if name.islower():
            self.add(at, 0, "hrtimer_expire_entry", cpu, function=name).add(at + 6, 0, "hrtimer_expire_exit", cpu)
        else:
            self.add(at, 0, "softirq_entry", cpu, vec=name).add(at + 6, 0, "softirq_exit", cpu, vec=name)
        return self

    def ordered(self) -> list[TraceEvent]:
        """Its events in order of time."""
        return sorted(self.events, key=lambda event: event.at)
