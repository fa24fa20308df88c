"""How far a command is: on a terminal, in a pipe, with nothing to say."""

import time
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from shaper.report import progress
from shaper.report.progress import Status, reading, shown


def steps(count: int) -> Iterator[int]:
    yield from range(count)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each look at the clock finds it a second later."""
    times = iter(range(1000))
    monkeypatch.setattr("shaper.report.progress.time.monotonic", lambda: float(next(times)))


@pytest.mark.usefixtures("clock")
def test_in_a_pipe_it_says_now_and_then_what_is_done_and_what_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(shown(steps(6), "trials", 6, Console(file=StringIO()))) == list(range(6))
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines()[:1] == ["shaper: 2 of 6 trials, about 6 s left"]


@pytest.mark.usefixtures("clock")
def test_without_a_total_it_says_what_is_done(capsys: pytest.CaptureFixture[str]) -> None:
    list(shown(steps(3), "trials", None, Console(file=StringIO())))
    assert "shaper: 2 trials\n" in capsys.readouterr().err


@pytest.mark.usefixtures("clock")
def test_without_a_total_it_may_say_how_long_the_rest_takes_at_most(capsys: pytest.CaptureFixture[str]) -> None:
    list(shown(steps(3), "trials", None, Console(file=StringIO()), most=60))
    assert "shaper: 2 trials, at most 57 s left\n" in capsys.readouterr().err


def test_what_is_quick_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    list(shown(steps(3), "trials", 3, Console(file=StringIO())))
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize("out", [None, Console(file=StringIO(), quiet=True)])
def test_whoever_wants_silence_has_it(out: Console | None, capsys: pytest.CaptureFixture[str]) -> None:
    list(shown(steps(9), "trials", 9, out))
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("clock")
def test_what_is_under_way(capsys: pytest.CaptureFixture[str]) -> None:
    for out in (Console(file=StringIO()), Console(file=StringIO(), quiet=True)):
        with Status(out) as status:
            for number in range(1, 4):
                status.update(f"trial {number}")
    assert capsys.readouterr().err == "shaper: trial 2\n"


def test_on_a_terminal_it_is_a_bar() -> None:
    file = StringIO()
    for step in shown(steps(4), "[b]trials", 4, Console(file=file, force_terminal=True, width=80), still=True):
        if step == 2:
            assert "[b]trials" in file.getvalue()
            assert "2/4" in file.getvalue()


def test_reading_a_file_shows_how_much_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "SILENCE", 0.02)
    file = tmp_path / "large.pcap"
    file.write_bytes(bytes(1000))
    out = Console(file=StringIO())
    deadline = time.monotonic() + 10
    with file.open("rb", buffering=0) as opened, reading(file, out):
        opened.read(500)
        while (said := capsys.readouterr().err) == "" and time.monotonic() < deadline:
            time.sleep(0.01)
    assert said.startswith("shaper: reading large.pcap: 50%, about ")
    with reading(Path("-"), out):
        pass
