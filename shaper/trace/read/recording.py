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
from shaper.trace.read.ring import Decode, Field, read_page
from shaper.trace.read.syscalls import numbers_of

VERSION = 1
DESCRIPTION = "recording.json"
SNAPSHOTS = "snapshots.jsonl"


def is_recording(path: Path) -> bool:
    """Whether this directory is a recording."""
    return (path / DESCRIPTION).is_file()


def read_recording(path: Path) -> Trace:
    """A recording, its events in order of time.

    Raises:
        TraceError: it is of another version, damaged, or cut off; the last is raised when it is read to there.
    """
    try:
        description = json.loads((path / DESCRIPTION).read_text())
    except ValueError:
        raise TraceError(f"{path}: {DESCRIPTION} is damaged; was the recorder killed?") from None
    if description["v"] != VERSION:
        raise TraceError(f"{path}: version {description['v']} of a recording; this shaper reads {VERSION}")
    formats = {
        name: (number, {field: Field(*place) for field, place in fields.items()})
        for name, (number, fields) in description["formats"].items()
    }
    functions = {int(address): name for address, name in description["functions"].items()}
    kinds = decoders(formats, numbers_of(description["machine"]), functions)
    size = description["page_size"]
    # Where times are equal, an interrupt comes before the wakeup that happened in it.
    streams = [
        _pages(file, int(file.stem[3:]), size, kinds)
        for folder in ("kernel", "tasks")
        for file in sorted((path / folder).glob("cpu*.raw"))
    ]
    events = chain(_names(description["names"]), in_order([_snapshots(path / SNAPSHOTS), *streams]))
    return Trace(events, "mono", frozenset(name for name, _ in kinds.values()))


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


def _pages(file: Path, cpu: int, size: int, kinds: Mapping[int, tuple[str, Decode]]) -> Iterator[list[TraceEvent]]:
    with file.open("rb") as pages:
        while page := pages.read(size):
            if len(page) < size:
                raise TraceError(f"{file}: cut off in the middle of a page")
            yield read_page(page, cpu, kinds)


def _names(names: Mapping[str, str]) -> Iterator[TraceEvent]:
    """The names of tasks for which the trace may have no other event than waking others."""
    for tid, comm in names.items():
        yield TraceEvent(0, 0, 0, "", "task", {"pid": int(tid), "of": int(tid), "comm": comm, "parent": 0})


def _snapshots(file: Path) -> Iterator[list[TraceEvent]]:
    if not file.exists():
        return
    with file.open(encoding="utf-8") as lines:
        for line in lines:
            try:
                entry: dict[str, Any] = json.loads(line)
            except ValueError:
                raise TraceError(f"{file}: cut off in the middle of a line") from None
            yield [TraceEvent(entry.pop("at"), 0, 0, "", entry.pop("event"), entry)]
