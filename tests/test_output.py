"""Text is printed as it is, whatever rich would make of it."""

import subprocess
import sys
from pathlib import Path

import pytest

from shaper.cli import main
from shaper.report.figure.model import Bar, Panel
from shaper.report.figure.write import write
from shaper.report.output import console
from shaper.report.statistic import Statistic, statistics_table
from shaper.report.table import table
from tests.trace.test_text import PERF, TRACE_CMD, TRACEFS

ADDRESS = "2001:db8:a:b:cd:ab:100:1"
HOSTILE = ["[red]a[/red]", "[/]", ":b:", ":warning:", "[link=x]y", "a\\[b]", "{x}", "'1' True None", ADDRESS]
SHORT = ["[red]", "[/]", ":b:", ":x:ab:100:1", "a[b]", "[1]:a:"]


@pytest.mark.parametrize("text", HOSTILE)
def test_every_place_of_a_table(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    out = console(None)
    out.print(text)
    out.print(table([text, "n"], [[text, 1]], title=text))
    out.print(statistics_table(text, text, [(text, Statistic())]))
    said = capsys.readouterr().out
    assert said.count(text) == 1 + 3 + 3


def test_nothing_is_highlighted_in_a_terminal() -> None:
    show = f"from shaper.report.output import console; console(None).print({ADDRESS!r}, '12', 'True', \"'a'\")"
    line = [sys.executable, "-c", show]
    done = subprocess.run(line, env={"FORCE_COLOR": "1", "TERM": "xterm-256color"}, capture_output=True, text=True)
    assert done.stdout == f"{ADDRESS} 12 True 'a'\n"


def test_nothing_controls_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    text = "a\x1b[31mb\x1b]0;title\x07c\x9b2J"
    console(None).print(text)
    console(None).print(table([text], [[text]], title=text))
    said = capsys.readouterr().out
    assert not {"\x1b", "\x07", "\x9b"} & set(said)
    assert said.count("a\ufffd[31mb\ufffd]0;title\ufffdc\ufffd2J") == 4


@pytest.mark.parametrize("trace", [TRACEFS, TRACE_CMD, PERF])
@pytest.mark.parametrize("name", SHORT)
def test_a_task_of_any_name(name: str, trace: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "trace").write_text(trace.replace("my app", name))
    assert main(["report", "--all", str(tmp_path / "trace")]) == 0
    # Of the glance, the table, the critical path, and three more tables.
    assert capsys.readouterr().out.count(f"{name}[42]") == 6


def test_a_figure_of_any_text(tmp_path: Path) -> None:
    text = "sh -c 'echo $A_{ $B' <script>alert()"
    panel = Panel(text, [Bar(text, 0, 10, text)], [], text, ([text], []))
    for suffix in (".svg", ".html"):
        write([panel], tmp_path / f"figure{suffix}", title=text)
    assert "<script>alert" not in (tmp_path / "figure.html").read_text()
