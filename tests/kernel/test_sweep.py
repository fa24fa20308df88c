"""`shaper sweep` with real programs."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from shaper.cli import main

pytestmark = pytest.mark.usefixtures("namespaces")


@pytest.mark.alone
def test_the_netcat_experiment(tmp_path: Path) -> None:
    """MISSION-FACTS: accept waits for 3 delays, select for 2, poll for 2."""
    document = tmp_path / "netcat.json"
    arguments = ["--vary", "delay:time=0..80ms/5", "--workload", "netcat", "--repeat", "4", f"--json={document}"]
    assert main(["sweep", *arguments, "--figure", str(tmp_path / "netcat.svg")]) == 0
    lines = {each["name"]: each["lines"][0] for each in json.loads(document.read_text())["measures"]}
    for name, slope in (("server accept4", 3), ("client pselect6", 2), ("client poll", 2), ("duration", 4)):
        # On a busy machine a median of four may be some ms too high.
        assert lines[name]["slope"] == pytest.approx(slope, abs=0.15)
        assert lines[name]["low"] - 0.1 < slope < lines[name]["high"] + 0.1
    assert "slope" in (tmp_path / "netcat.svg").read_text() or (tmp_path / "netcat.svg").stat().st_size > 10_000


def test_numbers_that_the_command_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    server = f"{sys.executable} -m http.server -b 127.0.0.1 8000"
    fetch = ["curl", "-s", "-o", "/dev/null", "-w", "total=%{time_total}", "http://127.0.0.1:8000/"]
    options = ["--vary", "delay:time=0,20ms", "--repeat", "2", "--measure", r"total=(?P<total>[\d.]+)"]
    file = str(tmp_path / "curl.parquet")
    assert main(["sweep", *options, "--server", server, "-o", file, "--json", "--", *fetch]) == 0
    found = json.loads(capsys.readouterr().out)
    total = next(each for each in found["measures"] if each["name"] == "total")
    assert total["points"][1]["median"] - total["points"][0]["median"] == pytest.approx(0.08, abs=0.03)
    assert main(["sweep", "show", file, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == found
    assert main(["causal", "show", file]) == 2
    assert f"{file} is of `shaper sweep`; see `shaper sweep show {file}`" in capsys.readouterr().err


def test_numbers_in_a_file_that_the_command_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "numbers.json"
    options = ["--vary", "delay:time=0,1ms", "--repeat", "2", "--measure", str(file), "--json"]
    write = ["sh", "-c", f"""echo '{{"latency": {{"p50": 12.5}}, "runs": [3, true, "x"]}}' > {file}"""]
    assert main(["sweep", *options, "--", *write]) == 0
    found = {each["name"]: each["points"][0]["median"] for each in json.loads(capsys.readouterr().out)["measures"]}
    assert (found["latency.p50"], found["runs.0"]) == (12.5, 3)
    assert not {"runs.1", "runs.2"} & found.keys()
    assert main(["sweep", *options, "--", "sh", "-c", f"echo nonsense > {file}"]) == 2
    assert f"--measure: the command wrote {file}, which is not JSON" in capsys.readouterr().err


def test_a_plan_and_what_the_command_line_says_instead(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = tmp_path / "plan.toml"
    plan.write_text('command = "true"\nvary = "delay:time=0,1ms"\nrepeat = 2\nseed = 7\n')
    said = []
    for words in ([], ["--repeat", "1", "--vary", "delay:time=0,1ms,2ms"], ["--", "echo", "1"], ["--workload=netcat"]):
        assert main(["sweep", str(plan), "--json", *words]) == 0
        found = json.loads(capsys.readouterr().out)
        said.append((found["command"], found["workload"], found["trials"]))
    assert said == [(["true"], "", 4), (["true"], "", 3), (["echo", "1"], "", 4), ([], "netcat", 4)]


def test_a_sweep_that_was_interrupted_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log, file = tmp_path / "log", str(tmp_path / "a.parquet")
    options = ["--vary", "delay:time=1ms,2ms", "--repeat", "5", "-o", file]
    command = ["sweep", *options, "--", "sh", "-c", f"echo >> {log}; sleep 0.2"]
    with subprocess.Popen([sys.executable, "-m", "shaper", *command], stdout=subprocess.PIPE, text=True) as process:
        while not log.exists() or log.read_text().count("\n") < 3:
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGINT)
        out, _ = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "interrupted: " in out
    before = log.read_text().count("\n")
    assert main(command) == 0
    # The trial that was interrupted runs again.
    assert log.read_text().count("\n") in (11, 10)
    assert 3 <= before < 10
    assert main(command) == 0
    assert log.read_text().count("\n") in (11, 10)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--vary", "delay:time=0,1ms"], "give either a command, after --, or a --workload"),
        (["--vary", "delay:time=0,1ms", "--workload", "netcat", "--", "true"], "give either a command"),
        (["--", "true"], "Missing option '--vary'"),
        (["--vary", "delay:time=0,1ms", "--workload", "nowhat"], "there is no workload 'nowhat'"),
        (["--vary", "delay:time=0,1ms", "--measure", "x", "--", "true"], "names no group"),
        (["/nowhere/plan.toml"], "there is no file /nowhere/plan.toml"),
        (["show", "/nowhere/x.parquet"], "there is no file /nowhere/x.parquet"),
    ],
)
def test_what_is_refused(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", *arguments]) == 2
    assert message in capsys.readouterr().err
