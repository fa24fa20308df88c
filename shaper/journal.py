"""The journal: what happened to each packet, as JSON lines.

The first line is the header, each further line one packet's verdict or one signal, in
the order in which they were given. The format is that of `schemas/journal.json`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TextIO, TypeVar

from shaper.errors import ShaperError
from shaper.header import flow_key
from shaper.packet import Flow, Packet
from shaper.signal import Given, Signal
from shaper.verdict import Verdict

VERSION = 1
FLOWS_REMEMBERED = 4096

T = TypeVar("T")


class JournalError(ShaperError):
    """A journal that can't be read; the message names the line."""


class Clocks(NamedTuple):
    """One moment on two clocks, in ns: what turns the journal's times into times of day."""

    monotonic: int
    realtime: int

    @classmethod
    def now(cls) -> Clocks:
        return cls(time.clock_gettime_ns(time.CLOCK_MONOTONIC), time.clock_gettime_ns(time.CLOCK_REALTIME))


class Header(NamedTuple):
    """What the journal is of.

    Attributes:
        policies: their SPECs, as given.
        clocks: CLOCK_MONOTONIC and CLOCK_REALTIME at the start; both 0 in a replay, whose times are the capture's.
        paired: each verdict was written by itself, so a wakeup inside the write belongs to its packet.
    """

    policies: tuple[str, ...]
    seed: str
    clocks: Clocks
    paired: bool


class Held(NamedTuple):
    """How long one policy held a packet, in ns."""

    policy: str
    ns: int


class Record(NamedTuple):
    """What happened to one packet; times are ns on the header's monotonic clock.

    Attributes:
        id: the number under which it was taken; 0 for one that a policy made.
        flow: "tcp 127.0.0.1:40000 > 127.0.0.1:8765".
        segment: its class (see `shaper.segment`).
        flags: TCP flags, lowest bit first: "SA"; empty without a TCP header.
        seq, ack: as the TCP header has them; None without one.
        fate: "sent", "dropped" or "injected".
        planned: when its verdict was to be.
        begin, end: of the verdict's write; both `planned` in a replay.
        tid: the thread that wrote it; 0 in a replay.
        by: the policy that made or dropped it; empty for others.
    """

    id: int
    flow: str
    segment: str
    flags: str
    seq: int | None
    ack: int | None
    length: int
    arrived: int
    taken: int
    fate: str
    planned: int
    begin: int
    end: int
    tid: int
    held: tuple[Held, ...]
    by: str = ""


class Journal:
    """Writes a journal.

    Args:
        file: where to; closing it is the caller's.
        policies: the SPECs, as given.
        paired: see `Header`.
        clocks: see `Header`; now, if not given.
    """

    def __init__(
        self,
        file: TextIO,
        *,
        policies: Sequence[str],
        seed: int | str,
        paired: bool = False,
        clocks: Clocks | None = None,
    ) -> None:
        self._write = file.write
        self._flows: dict[bytes, str] = {}
        self._names: dict[str, str] = {}
        clocks = clocks or Clocks.now()
        header = {
            "v": VERSION,
            "policies": list(policies),
            "seed": str(seed),
            "paired": paired,
            "clock": {"monotonic_ns": clocks.monotonic, "realtime_ns": clocks.realtime},
        }
        self._write(json.dumps(header) + "\n")

    def record(self, verdict: Verdict, *, begin: int = 0, end: int = 0, tid: int = 0) -> None:
        """Note a verdict.

        Args:
            begin, end: ns before and after its write; when it was planned, if there was none.
            tid: the thread that wrote it.
        """
        root = verdict.packet.root
        tcp = root.tcp
        if tcp is not None:
            header = f'"flags":"{tcp.flag_names}","seq":{tcp.seq},"ack":{tcp.ack}'
        else:
            header = '"flags":"","seq":null,"ack":null'
        held = ",".join([f'{{"policy":{self._name(policy)},"ns":{ns}}}' for policy, ns in root.holds])
        # Written out, since json.dumps would take three times as long, and this is done per packet.
        self._write(
            f'{{"v":{VERSION},"id":{root.id},"flow":{self._flow(root)},"class":"{root.segment}",{header},'
            f'"len":{root.length},"arrived_ns":{root.arrived},"taken_ns":{root.taken or root.arrived},'
            f'"fate":"{verdict.fate}","planned_ns":{verdict.planned},"verdict_begin_ns":{begin or verdict.planned},'
            f'"verdict_end_ns":{end or verdict.planned},"tid":{tid},"held":[{held}],'
            f'"by":{self._name(root.by)}}}\n'
        )

    def signalled(self, given: Given) -> None:
        """Note a signal that the core was given."""
        line = {
            "v": VERSION,
            "signal": given.signal.kind,
            "policy": given.policy,
            "flow": str(given.signal.flow),
            "at_ns": given.at,
            "taken": given.taken,
        }
        self._write(json.dumps(line) + "\n")

    def _flow(self, packet: Packet) -> str:
        key = flow_key(packet.raw)
        flow = self._flows.get(key)
        if flow is None:
            if len(self._flows) >= FLOWS_REMEMBERED:
                self._flows.clear()
            flow = self._flows[key] = json.dumps(str(packet.flow))
        return flow

    def _name(self, policy: str) -> str:
        name = self._names.get(policy)
        if name is None:
            name = self._names[policy] = json.dumps(policy)
        return name


def read_journal(path: Path) -> tuple[Header, list[Record]]:
    """The header and all records of a journal.

    Raises:
        JournalError: not a journal, of another version, or cut off.
        OSError: the file can't be read.
    """
    with path.open(encoding="utf-8") as file:
        lines = _lines(path, file)
        number, first = next(lines, (1, {}))
        header = _parse(path, number, first, _header)
        return header, [_parse(path, number, line, _record) for number, line in lines if not _is_signal(line)]


def read_signals(path: Path) -> list[Given]:
    """The signals in a journal, as they were given; times are those of the capture made beside it.

    Raises:
        JournalError, OSError: see `read_journal`.
    """
    with path.open(encoding="utf-8") as file:
        lines = _lines(path, file)
        number, first = next(lines, (1, {}))
        clocks = _parse(path, number, first, _header).clocks
        signals = [_parse(path, number, line, _given) for number, line in lines if _is_signal(line)]
    return [given._replace(at=given.at + clocks.realtime - clocks.monotonic) for given in signals]


def _is_signal(line: Any) -> bool:
    return isinstance(line, dict) and "signal" in line


def _lines(path: Path, file: TextIO) -> Iterator[tuple[int, Any]]:
    try:
        for number, line in enumerate(file, 1):
            yield number, json.loads(line)
    except ValueError as error:
        raise JournalError(f"{path}:{number}: not a whole line of JSON; was the journal cut off there?") from error


def _parse(path: Path, number: int, line: Any, parse: Callable[[Any], T]) -> T:
    try:
        if line["v"] != VERSION:
            raise JournalError(f"{path}:{number}: version {line['v']} of the journal; this shaper reads {VERSION}")
        return parse(line)
    except (KeyError, TypeError) as error:
        what = f"lacks {error}" if isinstance(error, KeyError) else "is no object"
        raise JournalError(f"{path}:{number}: not a line of a shaper journal ({what})") from error


def _header(line: Any) -> Header:
    clock = line["clock"]
    clocks = Clocks(clock["monotonic_ns"], clock["realtime_ns"])
    return Header(tuple(line["policies"]), line["seed"], clocks, line["paired"])


def _record(line: Any) -> Record:
    return Record(
        id=line["id"],
        flow=line["flow"],
        segment=line["class"],
        flags=line["flags"],
        seq=line["seq"],
        ack=line["ack"],
        length=line["len"],
        arrived=line["arrived_ns"],
        taken=line["taken_ns"],
        fate=line["fate"],
        planned=line["planned_ns"],
        begin=line["verdict_begin_ns"],
        end=line["verdict_end_ns"],
        tid=line["tid"],
        held=tuple(Held(hold["policy"], hold["ns"]) for hold in line["held"]),
        by=line["by"],
    )


def _given(line: Any) -> Given:
    signal = Signal(line["signal"], Flow.parse(line["flow"]))
    return Given(line["policy"], signal, line["at_ns"], line["taken"])
