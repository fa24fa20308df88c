"""The streams of a recording, one for each CPU, are read as one."""

from collections.abc import Iterator
from pathlib import Path
from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shaper.trace.read.events import TraceError, TraceEvent
from shaper.trace.read.recording import in_order
from shaper.trace.read.source import read_trace


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


def recorded(where: Path, description: str, snapshots: str = "", page: bytes = b"") -> Path:
    """A recording with these files."""
    (where / "recording.json").write_text(description)
    (where / "snapshots.jsonl").write_bytes(snapshots.encode(errors="surrogateescape"))
    (where / "tasks").mkdir(exist_ok=True)
    (where / "tasks" / "cpu0.raw").write_bytes(page)
    return where


EXIT = '"sched_process_exit": [9, {"pid": [8, 4, true, "int"], "comm": [12, 16, false, "text"]}]'
SOUND = '{"v": 1, "machine": "x86_64", "page_size": 4096, "formats": {%s}, "functions": {}, "names": {}}'


@pytest.mark.parametrize(
    "description",
    [
        "", "[]", "{}", '{"v": 1}', "[" * 100_000, SOUND.replace("%s", '"sched_switch": 9'),
        SOUND.replace("%s", '"sys_exit": [9, {}]'), SOUND.replace("%s", "").replace("4096", "4097"),
        SOUND.replace("%s", EXIT.replace("[8, 4,", "[-8, 4,")), SOUND.replace("%s", EXIT.replace("[8, 4,", "[8, 3,")),
        SOUND.replace("%s", "").replace('"names": {}', '"names": {"x": "y"}'),
    ],
)  # fmt: skip
def test_a_damaged_description(description: str, tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=r"recording\.json is damaged"):
        read_trace(recorded(tmp_path, description))


@pytest.mark.parametrize(
    "line", ["[]", "{", '{"at": 1}', '{"at": "1", "event": "task"}', '{"at": 1, "event": "file", "fd": 1}', "\udcff"]
)
def test_a_damaged_snapshot(line: str, tmp_path: Path) -> None:
    sound = '{"at": 5, "event": "task", "pid": 7, "of": 7, "comm": "nc", "parent": 1}\n'
    events = iter(read_trace(recorded(tmp_path, SOUND.replace("%s", EXIT), f"{sound}{line}\n")))
    assert next(events).fields["pid"] == 7
    with pytest.raises(TraceError, match="cut off or damaged"):
        next(events)


def test_the_events_before_a_damaged_place_of_a_page(tmp_path: Path) -> None:
    sound = pack("<IHBBii16s", 7 | 5 << 5, 9, 0, 0, 42, 42, b"nc")
    # The page says that it is longer than it is.
    page = (pack("<QQ", 100, 5000) + sound).ljust(4096, b"\0")
    events = iter(read_trace(recorded(tmp_path, SOUND.replace("%s", EXIT), page=page)))
    assert next(events).at == 105
    with pytest.raises(TraceError, match="damaged page"):
        next(events)
