"""`shaper hunt` as a user starts it."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from shaper.cli import main
from shaper.trace.record.tracefs import obstacle
from tests.hunt.test_programs import FAULTS, program
from tests.schema import schema


@pytest.fixture
def folder(namespaces: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_it_finds_a_fault_and_says_how_to_see_it_again(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hunt = ["hunt", "--json=hunt.json", "--", *program("books_twice")]
    assert main(hunt) == 1
    said = capsys.readouterr().out
    document = json.loads(Path("hunt.json").read_text())
    schema("hunt").validate(document)
    found = document["found"]
    assert found["fates"] == [FAULTS["books_twice"]]
    assert (found["failed"], found["runs"]) == (10, 10)
    assert f"    {FAULTS['books_twice']}\n" in said
    assert "here they part" in said
    # From Python 3.14 on, a thread has a name of its own.
    assert obstacle() is not None or re.search(r"The calls that waited last:\n\n    .+: \w+ [\d.]+ ms, for ", said)
    (kept,) = Path(".shaper/hunt").iterdir()
    assert kept.read_text().splitlines()[2:] == [FAULTS["books_twice"]]
    check_command(found["command"])
    check_test(said)
    # What was found is tried first the next time: three undisturbed, the known failure twice, ten confirmations.
    assert main(hunt) == 1
    assert json.loads(Path("hunt.json").read_text())["trials"] == 15


def check_command(line: str) -> None:
    """The command line that a hunt prints fails in the same way."""
    command = [sys.executable, "-m", *shlex.split(line)]
    again = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (again.returncode, "booked 2 times" in again.stderr) == (1, True)


def check_test(said: str) -> None:
    """So does the test that it prints."""
    test = re.search(r"As a test:\n\n(.*?)\n\nKept", said, re.DOTALL)
    assert test is not None
    Path("test_again.py").write_text(re.sub("^    ", "", test[1], flags=re.MULTILINE))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_again.py"]
    tested = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert "booked 2 times" in tested.stdout
    assert "1 failed" in tested.stdout


def test_no_failure(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["hunt", "--budget", "5", "--", *program("books_twice", "repaired")]) == 0
    assert "no failure in 5 trials in " in capsys.readouterr().out
    assert not Path(".shaper").exists()


def test_what_it_prints_may_be_the_failure(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = f"{shlex.join(program('books_twice'))} || true"
    assert main(["hunt", "--budget", "5", "--fails-if", "booked [2-9]", "--", "sh", "-c", script]) == 1
    assert "It fails (it said 'booked [2-9]', 10 of 10) with:" in capsys.readouterr().out


def test_a_command_that_fails_anyway(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["hunt", "--", "sh", "-c", "echo broken; exit 3"]) == 1
    captured = capsys.readouterr()
    assert "it fails without any misfortune (exit status 3, 3 of 3); make it pass first" in captured.err
    assert "    broken\n" in captured.out


def test_a_command_without_packets(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["hunt", "--", "true"]) == 0
    assert re.search(r"no failure in 3 trials in .* s, and nothing is left to try", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("arguments", "wrong"),
    [
        (["--budget", "soon"], "--budget: 'soon' is neither a time, such as 5min, nor a number of trials"),
        (["--fails-if", "("], "--fails-if: '(' is no regular expression"),
        (["--late", "3"], "'3' needs a unit of time"),
        (["--policy", "delai"], "there is no policy 'delai' (did you mean 'delay'?)"),
    ],
)
def test_mistakes_are_told_in_one_line(
    folder: Path, arguments: list[str], wrong: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["hunt", *arguments, "--", "true"]) == 2
    assert wrong in capsys.readouterr().err


def test_ctrl_c_ends_the_search_and_leaves_nothing(folder: Path) -> None:
    command = [sys.executable, "-m", "shaper", "hunt", "--", *program("stale_pool", "repaired"), str(folder)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    ) as hunt:
        deadline = time.monotonic() + 30
        while not running(str(folder)):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        os.killpg(hunt.pid, signal.SIGINT)
        said, _ = hunt.communicate(timeout=30)
    assert hunt.returncode == 130
    assert re.search(r"^no failure in \d+ trials? in .* until it was interrupted$", said, re.MULTILINE)
    assert not running(str(folder))


def running(word: str) -> list[str]:
    """The processes of the program, not of shaper, that have this word among their arguments."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode().split("\0")
        except (OSError, UnicodeDecodeError):
            continue
        if word in words and "hunt" not in words:
            found.append(path.parent.name)
    return found
