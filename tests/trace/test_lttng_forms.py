"""What LTTng's versions write, and which folders are a kernel's trace."""

from __future__ import annotations

from pathlib import Path

import pytest

from shaper.trace.read import lttng
from shaper.trace.read.events import TraceError
from shaper.trace.read.source import read_trace
from shaper.trace.report import report
from shaper.units import ms

DATA = Path(__file__).parent.parent / "data" / "traces" / "lttng"
METADATA = """/* CTF 1.8 */
trace { major = 1; minor = 8; uuid = "UUID"; };
env { domain = "DOMAIN"; kernel_release = "RELEASE"; tracer_name = "TRACER"; };
clock { name = "monotonic"; freq = 1000000000; };
event { name = "sched_switch"; id = 0; };
event { name = "sys_read"; id = 1; };
event { name = exit_syscall; id = 2; };
"""


def folder(where: Path, values: dict[str, str], *, events: bool = True) -> Path:
    """A folder with a trace's metadata, and a file for its events."""
    text = METADATA
    given = {"UUID": "1", "DOMAIN": "kernel", "RELEASE": "6.1.0", "TRACER": "lttng-modules", **values}
    for key, value in given.items():
        text = text.replace(key, value)
    where.mkdir(parents=True, exist_ok=True)
    (where / "metadata").write_text(text)
    if events:
        (where / "channel0_0").touch()
    return where


@pytest.fixture
def babeltrace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that babeltrace2 writes, whatever it is given."""
    program, text = tmp_path / "bin" / "babeltrace2", tmp_path / "text"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nwhile read -r line; do echo "$line"; done <{text}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    text.touch()
    return text


@pytest.mark.parametrize(("name", "release"), [("today", "6.1.0"), ("old", "3.2.0-97"), ("old", "4.13.9")])
def test_calls_of_each_version(name: str, release: str, tmp_path: Path, babeltrace: Path) -> None:
    babeltrace.write_text((DATA / f"{name}.txt").read_text())
    result = report(read_trace(folder(tmp_path / "trace", {"RELEASE": release})))
    (row,) = result.blockings
    assert (row.task, row.tid, row.syscall, row.fd, row.duration) == ("a b", 42, "read", 3, 50 * ms)
    assert not {"raw_syscalls:sys_enter", "raw_syscalls:sys_exit"} & {lack.event for lack in result.lacks}


def test_packets_with_nested_headers_or_none() -> None:
    with (DATA / "packets.txt").open() as lines:
        packets = [(event.tid, event.fields) for event in lttng.read_lines(lines)]
    assert packets == [
        (0, {"len": 66}),
        (0, {"len": 52, "sport": 80, "dport": 4000, "seq": 7, "ack": 9}),
        (42, {"len": 52, "tgid": 41}),
    ]


def test_a_call_before_the_first_switch_is_of_nobody() -> None:
    with (DATA / "today.txt").open() as lines:
        assert next(lttng.read_lines(iter(list(lines)[1:]))).name == "sched_switch"


def test_a_call_without_a_name_is_left_out() -> None:
    line = "[00000000000100100000] (none) syscall_entry: { cpu_id = 0 }, { tid = 42 }, { fd = 3 }"
    assert not list(lttng.read_lines(iter([line])))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"TRACER": "perf"}, "give the output of `perf script`"),
        ({"DOMAIN": "ust", "TRACER": "lttng-ust"}, "lttng enable-event -k"),
        ({"DOMAIN": "", "TRACER": "barectf"}, "not one that LTTng made of the kernel .barectf."),
    ],
)
def test_traces_that_are_not_the_kernels(values: dict[str, str], said: str, tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=said):
        read_trace(folder(tmp_path, values))


def test_metadata_alone(tmp_path: Path, babeltrace: Path) -> None:
    with pytest.raises(TraceError, match="only the metadata"):
        report(read_trace(folder(tmp_path / "trace", {}, events=False)))
    # A trace that has no event yet has files for them.
    assert report(read_trace(folder(tmp_path / "empty", {}))).none == "no task of this trace made a call"


def test_a_folder_above_the_trace(tmp_path: Path, babeltrace: Path) -> None:
    babeltrace.write_text((DATA / "today.txt").read_text())
    folder(tmp_path / "all" / "session" / "ust", {"DOMAIN": "ust", "TRACER": "lttng-ust", "UUID": "9"})
    folder(tmp_path / "all" / "session" / "kernel", {"UUID": "7"})
    folder(tmp_path / "all" / "session" / "archives" / "1" / "kernel", {"UUID": "7"})
    assert report(read_trace(tmp_path / "all")).count == 1
    folder(tmp_path / "all" / "other" / "kernel", {"UUID": "8"})
    with pytest.raises(TraceError, match="3 traces; give one of them: other/kernel, session/"):
        read_trace(tmp_path / "all")
