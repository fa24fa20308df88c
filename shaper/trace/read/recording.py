"""A recording of `shaper trace`: a directory with the kernel's raw buffers and what is needed to read them.

| file               | content                                                               |
|--------------------|-----------------------------------------------------------------------|
| recording.json     | version, machine, page size, formats of the events, names, timers      |
| tasks/cpuN.raw     | pages of the instance that follows the traced tasks                    |
| kernel/cpuN.raw    | pages of the instance with the interrupts, softirqs and timers of all  |
| snapshots.jsonl    | tasks and open files, as /proc had them, as events of the model        |
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import Any

from shaper.trace.read.decode import decoders
from shaper.trace.read.events import Trace, TraceError, TraceEvent
from shaper.trace.read.numbers import Numbers, of_forks
from shaper.trace.read.ring import DamagedPageError, Decode, Field, read_page
from shaper.trace.read.syscalls import numbers_of

VERSION = 1
DESCRIPTION = "recording.json"
SNAPSHOTS = "snapshots.jsonl"
PAGE_SIZES = [1 << bits for bits in range(12, 21)]
MOST = 1 << 16
"""No field of an event lies further from its beginning (bytes), or is longer."""
SNAPSHOT: Mapping[str, Mapping[str, type]] = {
    "task": {"pid": int, "of": int, "comm": str, "parent": int},
    "file": {"pid": int, "fd": int, "file": str},
}
"""The fields of a snapshot's lines."""


def is_recording(path: Path) -> bool:
    """Whether this directory is a recording."""
    return (path / DESCRIPTION).is_file()


def read_recording(path: Path) -> Trace:
    """A recording, its events in order of time.

    Raises:
        TraceError: it is of another version, damaged, or cut off; the last is raised when it is read to there.
    """
    try:
        description = json.loads((path / DESCRIPTION).read_text(encoding="utf-8", errors="replace"))
        version = description["v"]
        if version == VERSION:
            formats, calls = _formats(description), numbers_of(description["machine"])
            functions = {int(address): str(name) for address, name in description["functions"].items()}
            kinds = decoders(formats, calls, functions)
            names = {int(tid): str(name) for tid, name in description["names"].items()}
            names_here = {int(tid): str(name) for tid, name in description.get("names_here", {}).items()}
            given = description.get("numbers") or {}
            numbers = {int(number): int(here) for number, here in given.items()}
            forks = of_forks(formats, calls) if numbers else {}
            size = int(description["page_size"])
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
        raise TraceError(f"{path}: {DESCRIPTION} is damaged; was the recorder killed?") from None
    if version != VERSION:
        raise TraceError(f"{path}: version {str(version)[:20]} of a recording; this shaper reads {VERSION}")
    if size not in PAGE_SIZES:
        raise TraceError(f"{path}: {DESCRIPTION} is damaged: pages of {size} bytes")
    # Where times are equal, an interrupt comes before the wakeup that happened in it.
    streams = [*_streams(path / "kernel", size, kinds), *_streams(path / "tasks", size, kinds)]
    if numbers:
        here = Numbers(numbers, in_order(_streams(path / "tasks", size, forks)))
        names = {here(number): name for number, name in names.items()}
        streams = [map(here.translated, stream) for stream in streams]
    events = chain(_names(names | names_here), in_order([_snapshots(path / SNAPSHOTS), *streams]))
    return Trace(events, "mono", frozenset(name for name, _ in kinds.values()))


def _formats(description: Mapping[str, Any]) -> dict[str, tuple[int, dict[str, Field]]]:
    """The formats of the events; any error of a lookup or a conversion means that the description is damaged."""
    formats = {
        name: (int(number), {field: Field(*place) for field, place in fields.items()})
        for name, (number, fields) in description["formats"].items()
    }
    if any(
        not (0 <= field.offset < MOST and 0 <= field.size < MOST)
        for _, fields in formats.values()
        for field in fields.values()
    ):
        raise ValueError("a field lies nowhere")
    return formats


def in_order(streams: Iterable[Iterator[list[TraceEvent]]]) -> Iterator[TraceEvent]:
    """The events of several streams, each in order and in pages, as one stream in order.

    Whole pages are sorted together: since each of them is in order already, that is far
    quicker than comparing event with event.
    """
    pages: list[tuple[list[TraceEvent], Iterator[list[TraceEvent]]]] = [([], stream) for stream in streams]
    while True:
        # The next page is read only when all that is ready has been yielded: it may be cut off.
        pages = [(page or next(filter(None, stream), []), stream) for page, stream in pages]
        pages = [(page, stream) for page, stream in pages if page]
        if not pages:
            return
        # No later page has an event before this time.
        horizon = min(page[-1].at for page, _ in pages)
        ends = [bisect_right(page, horizon, key=itemgetter(0)) for page, _ in pages]
        ready = [event for (page, _), end in zip(pages, ends, strict=True) for event in page[:end]]
        ready.sort(key=itemgetter(0))
        yield from ready
        pages = [(page[end:], stream) for (page, stream), end in zip(pages, ends, strict=True)]


def _streams(folder: Path, size: int, kinds: Mapping[int, tuple[str, Decode]]) -> list[Iterator[list[TraceEvent]]]:
    """The pages of each CPU."""
    return [_pages(file, int(file.stem[3:]), size, kinds) for file in sorted(folder.glob("cpu*.raw"))]


def _pages(file: Path, cpu: int, size: int, kinds: Mapping[int, tuple[str, Decode]]) -> Iterator[list[TraceEvent]]:
    with file.open("rb") as pages:
        while page := pages.read(size):
            if len(page) < size:
                raise TraceError(f"{file}: cut off in the middle of a page")
            try:
                yield read_page(page, cpu, kinds)
            except DamagedPageError as damaged:
                yield damaged.events
                raise TraceError(f"{file}: a damaged page") from None


def _names(names: Mapping[int, str]) -> Iterator[TraceEvent]:
    """The names of tasks for which the trace may have no other event than waking others."""
    for tid, comm in names.items():
        yield TraceEvent(0, 0, 0, "", "task", {"pid": tid, "of": tid, "comm": comm, "parent": 0})


def _snapshots(file: Path) -> Iterator[list[TraceEvent]]:
    if not file.exists():
        return
    with file.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            try:
                entry: dict[str, Any] = json.loads(line)
                at, name = entry.pop("at"), entry.pop("event")
                whole = type(at) is int and all(type(entry[key]) is kind for key, kind in SNAPSHOT[name].items())
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
                whole = False
            if not whole:
                raise TraceError(f"{file}: cut off or damaged in a line")
            yield [TraceEvent(at, 0, 0, "", name, entry)]
