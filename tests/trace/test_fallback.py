"""Where the kernel can't trace: strace stands in, or one line says what is missing."""

import json
import shutil
from pathlib import Path

import pytest

from shaper.cli import main

WHY = "this kernel has no tracefs"


@pytest.fixture
def no_tracefs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shaper.trace.tracing.obstacle", lambda: WHY)


@pytest.mark.usefixtures("no_tracefs")
def test_strace_stands_in(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    if shutil.which("strace") is None:
        pytest.skip("there is no strace here")
    document = tmp_path / "document.json"
    assert main(["trace", f"--json={document}", "--", "sleep", "0.05"]) == 0
    assert f"{WHY}; strace is used, which can't show what woke each call" in capfd.readouterr().err
    content = json.loads(document.read_text())
    (row,) = [row for row in content["blockings"] if "nanosleep" in row["syscall"]]
    assert row["duration_ms"] >= 50
    assert row["waker"] is None
    assert content["cpu"] == []


@pytest.mark.usefixtures("no_tracefs")
def test_without_strace_one_line_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program = shutil.which("sleep") or ""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["trace", "--", program, "1"]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "apt install strace" in said


@pytest.mark.parametrize(
    "arguments", [[], ["--pid", "1", "--", "true"], ["--duration", "1s", "--", "true"], ["--pid", "999999999"]]
)
def test_mistakes(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trace", *arguments]) == 2
    assert capsys.readouterr().err.count("\n") == 1
