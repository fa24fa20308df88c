"""Outcomes of trials that were never run."""

from __future__ import annotations

from collections.abc import Iterable

from shaper.experiment.trial import Outcome
from shaper.journal import Held, Record
from shaper.units import ms
from shaper.wire.flow import Flow

CLIENT = Flow("udp", "127.0.0.1", 40000, "127.0.0.1", 53)


def record(id: int, at: float, *, back: bool = False, fate: str = "sent", held: int = 0, length: int = 38) -> Record:
    """A datagram: when it came (ms), whether it is an answer, and how long fates held it (ns)."""
    arrived = round(at * ms)
    end = arrived + held
    holds = (Held("fates", held),) if held else ()
    flow = CLIENT.reverse if back else CLIENT
    return Record(id, flow, "udp", "", None, None, length, arrived, arrived, fate, end, end, end, 1, holds)


EXCHANGE = (record(1, 0), record(2, 0.5, back=True))


def outcome(
    status: int | None = 0,
    records: Iterable[Record] = EXCHANGE,
    *,
    duration: int = 40 * ms,
    stdout: bytes = b"",
    stderr: bytes = b"",
) -> Outcome:
    return Outcome(status, duration, stdout, stderr, {}, tuple(records))
