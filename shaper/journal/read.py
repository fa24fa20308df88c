"""Reads a journal."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from itertools import takewhile
from pathlib import Path
from typing import Any, TypeVar, get_args

from shaper.core.change import Change, What
from shaper.errors import ShaperError
from shaper.journal.line import FLOWS_REMEMBERED, VERSION, Clocks, Header, Held, Record
from shaper.policy.signal import Signal, SignalRecord
from shaper.wire.flow import Flow

T = TypeVar("T")
LARGEST = 2**63 - 1
LONGEST_HEADER = 1 << 20
"""Bytes; a first line that is longer is no header."""


class JournalError(ShaperError):
    """A journal that can't be read; the message names the line."""


def read_journal(path: Path, *, grows: bool = False) -> tuple[Header, list[Record]]:
    """The header and all records of a journal.

    Args:
        path: the file.
        grows: it is still being written, so its last line may not be whole.

    Raises:
        JournalError: the file is no journal, of another version, or cut off.
        OSError: the file can't be read.
    """
    with path.open("rb") as file:
        lines = _lines(path, takewhile(_is_whole, file) if grows else file)
        number, first = next(lines, (1, {}))
        header = _parse(path, number, first, _header)
        records = [_parse(path, number, line, _record) for number, line in lines if not _is_other(line)]
        return header, [one._replace(forwarded=True) for one in records] if header.forwarded else records


def read_changes(path: Path) -> list[SignalRecord | Change]:
    """The signals and changes in a journal, in order; their times are on the clock of the capture made beside it.

    Raises:
        JournalError, OSError: see `read_journal`.
    """
    with path.open("rb") as file:
        lines = _lines(path, file)
        number, first = next(lines, (1, {}))
        clocks = _parse(path, number, first, _header).clocks
        given = [_parse(path, number, line, _given) for number, line in lines if _is_other(line)]
    return [one._replace(at=one.at + clocks.realtime - clocks.monotonic) for one in given]


def _is_other(line: Any) -> bool:
    """Whether it is about something else than a packet: a signal, or a change."""
    return isinstance(line, dict) and ("signal" in line or "change" in line)


def is_journal(path: Path) -> bool:
    """Whether this is a file that begins as a journal does."""
    try:
        with path.open("rb") as file:
            _header(json.loads(file.readline(LONGEST_HEADER)))
    except (OSError, KeyError, TypeError, ValueError, RecursionError):
        return False
    return True


def _is_whole(line: bytes) -> bool:
    return line.endswith(b"\n")


def _lines(path: Path, file: Iterable[bytes]) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(file, 1):
        try:
            content = json.loads(line.decode())
        except (ValueError, RecursionError) as error:
            raise JournalError(f"{path}:{number}: not a whole line of JSON; was the journal cut off there?") from error
        yield number, content


def _parse(path: Path, number: int, line: Any, parse: Callable[[Any], T]) -> T:
    try:
        if line["v"] != VERSION:
            raise JournalError(f"{path}:{number}: version {line['v']} of the journal; this shaper reads {VERSION}")
        return parse(line)
    except (KeyError, TypeError, ValueError) as error:
        what = {KeyError: f"lacks {error}", TypeError: "is no object"}.get(type(error), str(error))
        raise JournalError(f"{path}:{number}: not a line of a shaper journal ({what})") from error


def _header(line: Any) -> Header:
    clocks = Clocks(_number(line["clock"], "monotonic_ns"), _number(line["clock"], "realtime_ns"))
    return Header(
        tuple(str(spec) for spec in line["policies"]), _text(line, "seed"), clocks, bool(line.get("forwarded"))
    )


def _record(line: Any) -> Record:
    return Record(
        id=_number(line, "id"),
        flow=_flow(_text(line, "flow")),
        kind=_text(line, "class"),
        flags=_text(line, "flags"),
        seq=None if line["seq"] is None else _number(line, "seq"),
        ack=None if line["ack"] is None else _number(line, "ack"),
        length=_number(line, "len"),
        arrived=_number(line, "arrived_ns"),
        taken=_number(line, "taken_ns"),
        fate=_text(line, "fate"),
        planned=_number(line, "planned_ns"),
        begin=_number(line, "verdict_begin_ns"),
        end=_number(line, "verdict_end_ns"),
        tid=_number(line, "tid"),
        held=tuple(Held(_text(hold, "policy"), _number(hold, "ns")) for hold in line["held"]),
        by=_text(line, "by"),
    )


def _given(line: Any) -> SignalRecord | Change:
    return _signal(line) if "signal" in line else _change(line)


def _change(line: Any) -> Change:
    kinds: dict[str, What] = {what: what for what in get_args(What)}
    kind = _text(line, "change")
    if kind not in kinds:
        raise ValueError(f"there is no change {kind!r}")
    change = Change(_number(line, "at_ns"), _number(line, "taken"), kinds[kind])
    if kind == "replace":
        if not isinstance(line["policies"], list) or not all(isinstance(spec, str) for spec in line["policies"]):
            raise ValueError("policies is no list of texts")
        return change._replace(specs=tuple(line["policies"]))
    if kind == "change":
        if not isinstance(line["options"], dict):
            raise ValueError("options is no object")
        options = {name: _text(line["options"], name) for name in line["options"]}
        return change._replace(stage=_text(line, "stage"), options=options)
    return change


def _signal(line: Any) -> SignalRecord:
    if (kind := _text(line, "signal")) != "drained":
        raise ValueError(f"there is no signal {kind!r}")
    signal = Signal("drained", _flow(_text(line, "flow")))
    return SignalRecord(_text(line, "policy"), signal, _number(line, "at_ns"), _number(line, "taken"))


def _number(line: Any, name: str) -> int:
    value = line[name]
    if type(value) is not int or not -LARGEST <= value <= LARGEST:
        raise ValueError(f"{name} is no whole number of 64 bits")
    return value


def _text(line: Any, name: str) -> str:
    value = line[name]
    if not isinstance(value, str):
        raise ValueError(f"{name} is no text")
    return value


@lru_cache(FLOWS_REMEMBERED)
def _flow(text: str) -> Flow:
    """The flow that this text names; remembered."""
    return Flow.parse(text)
