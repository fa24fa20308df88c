"""The streams of a recording, one for each CPU, are read as one."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shaper.trace.read.events import TraceError, TraceEvent
from shaper.trace.read.recording import in_order


def event(at: int, cpu: int = 0) -> TraceEvent:
    return TraceEvent(at, cpu, 0, "", "switch", {})


@given(st.lists(st.lists(st.lists(st.integers(0, 30)))))
def test_all_events_in_order(times: list[list[list[int]]]) -> None:
    streams = []
    for cpu, pages in enumerate(times):
        rising = iter(sorted(at for page in pages for at in page))
        streams.append(iter([[event(next(rising), cpu) for _ in page] for page in pages]))
    expected = sorted(at for pages in times for page in pages for at in page)
    assert [each.at for each in in_order(streams)] == expected


def test_events_before_a_cut_are_yielded() -> None:
    def cut() -> Iterator[list[TraceEvent]]:
        yield [event(1), event(3)]
        raise TraceError("cut off")

    events = in_order([iter([[event(2, 1), event(4, 1)]]), cut()])
    assert [next(events).at for _ in range(3)] == [1, 2, 3]
    with pytest.raises(TraceError, match="cut off"):
        next(events)
