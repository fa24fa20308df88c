"""Texts from the kernel are bytes: a task may have any name, and the kernel cuts it in the middle of a character."""

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from shaper.cli import main
from shaper.journal import JournalError, read_journal
from shaper.report.blocking import write_csv
from shaper.report.output import write_json
from shaper.trace.export import write_chrome
from shaper.trace.read import lttng
from shaper.trace.read.ring import Field, text
from shaper.trace.read.source import read_trace
from shaper.trace.record.copier import saved_names
from shaper.trace.record.snapshot import Snapshots
from shaper.trace.report import TraceReport, report
from shaper.trace.show import as_json
from tests.examples import examples
from tests.schema import schema
from tests.trace.conftest import Shaper
from tests.trace.test_text import PERF, STRACE, TRACE_CMD, TRACEFS

CUT = "сервер--очереди".encode()[:15]  # the last character has lost its second byte
SHOWN = "сервер--\ufffd"
NAMES = st.binary(min_size=1, max_size=15).map(lambda name: name.replace(b"\0", b"x"))
MANY = settings(examples(30), suppress_health_check=[HealthCheck.function_scoped_fixture])


def write_all(result: TraceReport, where: Path) -> None:
    """Write the report in all ways; each must be what it claims to be."""
    write_json(as_json(result), where / "document.json")
    schema("report").validate(json.loads((where / "document.json").read_text(encoding="utf-8")))
    with (where / "chrome.json").open("w+", encoding="utf-8") as file:
        write_chrome(result, (), file)
        file.seek(0)
        json.load(file)
    table = io.StringIO()
    write_csv(result.blockings, table)
    assert len(list(csv.DictReader(io.StringIO(table.getvalue())))) == len(result.blockings)


@MANY
@example(name=CUT)
@given(name=NAMES)
@pytest.mark.parametrize("trace", [TRACEFS, TRACE_CMD, PERF, STRACE], ids=["tracefs", "trace-cmd", "perf", "strace"])
def test_any_name_in_a_text(trace: str, name: bytes, tmp_path: Path) -> None:
    file = tmp_path / "trace"
    named = trace.encode().replace(b"my app", name).replace(b"my-app", name)
    file.write_bytes(named)
    write_all(report(read_trace(file)), tmp_path)


def test_a_carriage_return_does_not_end_a_line(tmp_path: Path) -> None:
    file = tmp_path / "trace"
    file.write_bytes(TRACEFS.encode().replace(b"my app", b"my\rapp"))
    assert [row.task for row in report(read_trace(file)).blockings] == ["my\rapp"]


@MANY
@given(line=st.binary(max_size=200))
@example(line=b"   a-1 [000] 1.0: sys_exit: NR 0 = zero")
@example(line=b"10 1700000000.100000 umask(022) = 022 <0.000010>")
@example(line=b"10 1700000000.100000 umask(022) = 0999 <0.000010>")
def test_any_line_in_a_text(line: bytes, tmp_path: Path) -> None:
    file = tmp_path / "trace"
    for trace in (TRACEFS, STRACE):
        file.write_bytes(trace.encode() + line + b"\n" + trace.encode())
        write_all(report(read_trace(file)), tmp_path)


def test_straces_names_are_bytes_as_c_writes_them(tmp_path: Path) -> None:
    file = tmp_path / "log"
    escaped = "".join(f"\\{byte:o}" if byte > 126 else chr(byte) for byte in "сервер--очереди".encode())
    file.write_text(STRACE.replace("/usr/bin/my-app", f"/usr/bin/{escaped}"))
    assert {row.task for row in report(read_trace(file)).blockings} == {SHOWN}


@given(st.binary(min_size=16, max_size=16))
@example(CUT + b"\0")
def test_any_name_in_the_kernels_buffers(raw: bytes) -> None:
    name = text(Field(0, 16, False, "text"))(raw, 0)
    assert name.encode() or not raw.split(b"\0")[0]
    (word,) = (int.from_bytes(bytes((4, 0, 16, 0)), "little"),)
    assert text(Field(0, 4, False, "data"))(word.to_bytes(4, "little") + raw, 0) == name


@given(st.lists(NAMES))
@example([CUT, b"a\nb", b"\r", b"12 \x85"])
def test_any_name_that_the_kernel_has_saved(names: list[bytes]) -> None:
    content = b"".join(b"%d %s\n" % (number, name) for number, name in enumerate(names, 1000))
    found = dict(saved_names(content))
    for number, name in enumerate(names, 1000):
        if b"\n" not in b"".join(names):
            assert found[number] == name.decode(errors="replace")


LTTNG = (
    '[{at}] (+0.0) {name}: {{ cpu_id = 0 }}, {{ pid = 42, tid = 42, procname = "{comm}" }}, {{ {payload} }}\n',
    'comm = "{comm}", tid = 43, prio = 20, target_cpu = 0',
)


@given(NAMES)
@example(b"a }, { b = 1")
@example(CUT)
def test_any_name_in_babeltraces_text(raw: bytes) -> None:
    name = raw.decode(errors="replace")
    comm = name.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    payload = LTTNG[1].format(comm=comm)
    line = LTTNG[0].format(at=5, name="sched_waking", comm=comm, payload=payload).replace("(+0.0) ", "")
    (event,) = lttng.read_lines(iter([line]))
    assert (event.tid, event.comm, event.fields["pid"], event.fields["comm"]) == (42, name, 43, name)


def test_a_damaged_line_of_babeltrace_is_left_out() -> None:
    line = '[5] sched_waking: { cpu_id = 0 }, { pid = 42, tid = 42, procname = "a" }, { comm = "b" }\n'
    assert not list(lttng.read_lines(iter([line])))


@MANY
@given(content=st.binary(max_size=100))
@example(content=b'{"v": 1, "policies": ["' + CUT + b'"]}')
def test_any_bytes_as_a_journal(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "journal").write_bytes(content)
    with pytest.raises(JournalError):
        read_journal(tmp_path / "journal")


def test_a_file_whose_name_is_no_text(tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/\xff\xfe"
    descriptor = os.open(name, os.O_WRONLY | os.O_CREAT)
    try:
        entries = Snapshots([os.getpid()]).look()
    finally:
        os.close(descriptor)
    assert f"{tmp_path}/\ufffd\ufffd" in [entry.get("file") for entry in entries]


def test_a_document_with_what_no_encoding_can_write(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_json({"file": "\udcff"}, tmp_path / "document")
    assert json.loads((tmp_path / "document").read_text(encoding="utf-8")) == {"file": "?"}
    show = "from shaper.report.output import STDOUT, console, write_json; console(None).print(chr(0xdcff)); "
    show += "write_json({'file': chr(0xdcff)}, STDOUT)"
    subprocess.run([sys.executable, "-c", show], check=True)
    assert capfd.readouterr().out == '?\n{\n  "file": "?"\n}\n'


def test_a_trace_whose_file_has_such_a_name(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    trace = tmp_path / os.fsdecode(b"\xff.txt")
    trace.write_text(TRACEFS)
    files = ["--csv", tmp_path / "csv", "--chrome", tmp_path / "chrome", "--figure", tmp_path / "figure.svg"]
    assert main(["report", str(trace), *map(str, files)]) == 0


# The program takes the name by PR_SET_NAME, 15, and sleeps.
PROGRAM = f"import ctypes, time; ctypes.CDLL(None).prctl(15, {CUT!r}); time.sleep(0.05)"


def test_a_program_with_a_cut_name(shaper: Shaper) -> None:
    document = shaper("trace", "--", sys.executable, "-c", PROGRAM)
    assert SHOWN in {row["task"] for row in document["blockings"]}
    # The kernel still has the name, and gives it to every later trace.
    shaper("trace", "--", "true")
