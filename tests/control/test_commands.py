"""The commands for a shaper that runs: what they say, what they change, and how a shell completes them."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from shaper.cli import main
from shaper.cli.events import line
from shaper.cli.replace import with_path
from shaper.cli.running import changes_of
from tests.control.conftest import COMMAND, Running, Start, eventually
from tests.control.front import Front

Say = Callable[..., str]
RUNNING = ("status", "top", "events", "pause", "resume", "release", "stop")


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Say:
    """What a command prints, which must succeed."""

    def say(*arguments: str) -> str:
        capsys.readouterr()
        assert main(arguments) == 0, capsys.readouterr().err
        return capsys.readouterr().out

    return say


@pytest.fixture
def refuse(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """The status and the one line of a command that fails."""

    def refuse(*arguments: str) -> tuple[int, str]:
        capsys.readouterr()
        status = main(arguments)
        out, error = capsys.readouterr()
        assert out == ""
        assert error.startswith("shaper: ")
        assert error.count("\n") == 1
        return status, error.removeprefix("shaper: ").rstrip()

    return refuse


def test_status_shows_the_pipeline_and_the_counts(running: Running, say: Say) -> None:
    out = say("status")
    assert out.startswith("0: shaping, input packets of lo, tcp, port 443, for ")
    assert "\ndelay  delay:time=20ms " in out
    assert "\nloss   loss:probability=1% " in out
    assert "\nbypassed  0\n" in out
    assert "\nlate      p50 " in out
    assert max(map(len, out.splitlines())) <= 80


def test_status_as_json_has_the_pipeline_with_all_options(running: Running, say: Say) -> None:
    document = json.loads(say("status", "--json"))
    assert (document["v"], document["name"], document["state"]) == (1, "0", "shaping")
    assert document["pipeline"][0]["options"]["jitter"] == "0"


def test_set_changes_options_and_says_what_is_in_force(running: Running, say: Say) -> None:
    assert say("set", "delay:time=50ms,jitter=5ms", "loss:2%") == "delay:time=50ms,jitter=5ms\nloss:probability=2%\n"
    assert say("set", "--name", "0", "delay:30ms") == "delay:time=30ms,jitter=5ms\n"
    assert [stage["options"]["time"] for stage in running.client.pipeline()[:1]] == ["30ms"]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ("dely:time=50ms", "there is no stage 'dely'; there is delay, loss"),
        ("delay:time=50", "delay: option time: '50' needs a unit of time"),
        ("delay:tme=50ms", "delay has no option 'tme' (did you mean 'time'?)"),
        ("delay", "'delay' has no options; write STAGE:option=value"),
        ("stage:50ms", "stage: '50ms' is not option=value"),
    ],
)
def test_a_change_that_can_t_be_made_is_one_line_with_status_2(
    change: str, complaint: str, running: Running, refuse: Callable[..., tuple[int, str]]
) -> None:
    status, said = refuse("set", change)
    assert status == 2
    assert said.startswith(complaint)


def test_replace_takes_policies_profiles_and_files(
    running: Running, say: Say, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert say("replace", "--policy", "delay:5ms | loss:1%", "--policy", "delay:7ms") == (
        "delay:time=5ms\nloss:probability=1%\ndelay#2:time=7ms\n"
    )
    assert say("replace", "0", "--profile", "3g").startswith("rate:rate=")
    monkeypatch.chdir(tmp_path)
    assert with_path("./mine.py:gap=1ms") == f"{tmp_path}/mine.py:gap=1ms"
    assert with_path("delay:5ms") == "delay:5ms"


def test_a_pipeline_with_a_mistake_changes_nothing(running: Running, refuse: Callable[..., tuple[int, str]]) -> None:
    assert refuse("replace", "--policy", "dely") == (
        2,
        "there is no policy 'dely' (did you mean 'delay'?); see `shaper policies`, or give a file that ends in .py",
    )
    assert running.client.status()["policies"] == ["delay:20ms", "loss:1%"]


def test_pause_resume_and_release(running: Running, say: Say) -> None:
    assert say("pause").startswith("0: paused, ")
    assert running.client.status()["state"] == "paused"
    assert say("release", "0").startswith("0: released what was held, ")
    assert say("resume") == "0: shaping\n"
    assert running.client.status()["state"] == "shaping"


def test_stop_waits_until_nobody_answers(running: Running, say: Say) -> None:
    assert say("stop") == "0 has ended\n"
    assert eventually(lambda: not running.listeners.path.exists())


@pytest.mark.parametrize("command", RUNNING)
def test_without_a_shaper_a_command_says_so(
    command: str, runtime: Path, refuse: Callable[..., tuple[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert refuse(command) == (1, "no shaper is running that you may control; if it runs as root, use sudo")
    status, said = refuse(command, "web")
    assert (status, said.partition(";")[0]) == (1, "no shaper named 'web' is running")


@pytest.mark.parametrize("command", RUNNING)
def test_with_several_shapers_a_name_is_needed(
    command: str, start: Start, refuse: Callable[..., tuple[int, str]]
) -> None:
    start(Front(name="a")), start(Front(name="b"))
    assert refuse(command) == (2, "several shapers are running; name one of a, b")


def test_a_shaper_is_named_by_the_url_of_its_tcp_socket(over_tcp: Running, say: Say) -> None:
    assert say("status", over_tcp.url).startswith("0: shaping")


def test_top_needs_a_terminal(running: Running, refuse: Callable[..., tuple[int, str]]) -> None:
    assert refuse("top") == (2, "`shaper top` needs a terminal; `shaper status` prints the state once")
    assert refuse("top", "--interval", "50ms") == (2, "--interval must be 100ms at least")


def test_top_names_what_to_install(
    running: Running, refuse: Callable[..., tuple[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "shaper.top.app", raising=False)
    monkeypatch.setitem(sys.modules, "textual", None)
    assert refuse("top") == (1, "`shaper top` needs Textual: pip install 'nfq-shaper[top]'")


def test_events_are_lines_until_the_shaper_ends(running: Running, capsys: pytest.CaptureFixture[str]) -> None:
    found: list[str] = []

    def watch() -> None:
        main(["events", "--kind", "change", "--kind", "state"])
        found.extend(capsys.readouterr().out.splitlines())

    thread = threading.Thread(target=watch)
    thread.start()
    assert eventually(lambda: running.front.readers)
    running.client.set("delay", {"time": "50ms"})
    running.client.replace(["delay:5ms", "loss:2%"])
    running.client.pause()
    running.client.stop()
    thread.join(30)
    assert [one.split(maxsplit=1)[1] for one in found] == [
        "change  delay:time=50ms",
        "change  replace delay:5ms | loss:2%",
        "state   paused",
    ]


def test_events_as_json_go_to_a_file(running: Running, tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    thread = threading.Thread(target=main, args=(["events", f"--json={file}"],))
    thread.start()
    assert eventually(lambda: running.front.readers)
    assert eventually(lambda: file.read_text().count("\n") > 2)
    running.client.stop()
    thread.join(30)
    assert {json.loads(one)["kind"] for one in file.read_text().splitlines()} == {"packet"}


def test_a_packet_s_event_says_what_became_of_it() -> None:
    data = {
        "flow": "10.0.0.1:5000 > 10.0.0.2:80 tcp",
        "class": "data",
        "len": 52,
        "fate": "sent",
        "held": [{"policy": "delay", "ns": 20_000_000}, {"policy": "rate", "ns": 1_500_000}],
        "by": "",
    }
    said = line({"kind": "packet", "time": "2026-09-21T14:13:20.123456Z", "data": data})
    assert said.partition(" ")[0].endswith(":20.123")
    assert said.partition(" ")[2] == (
        "packet  10.0.0.1:5000 > 10.0.0.2:80 tcp data 52 B sent, held 20.0 ms by delay, 1.5 ms by rate"
    )
    dropped = {**data, "fate": "dropped", "held": [], "by": "loss"}
    assert line({"kind": "packet", "time": "2026-09-21T14:13:20Z", "data": dropped}).endswith(" 52 B dropped by loss")
    failure = {"kind": "failure", "time": "2026-09-21T14:13:20Z", "data": {"message": "x.py:3: \x1b[2J"}}
    assert line(failure).endswith(" failure x.py:3: \ufffd[2J")


def complete(*words: str) -> list[str]:
    """What bash is offered for the last of these words, which it has cut at colons and equal signs."""
    environment = {
        **os.environ,
        "COMP_WORDS": "\n".join(["shaper", *words]),
        "COMP_CWORD": str(len(words)),
        "_SHAPER_COMPLETE": "complete_bash",
    }
    said = subprocess.run(COMMAND, env=environment, capture_output=True, text=True, check=True).stdout
    return said.rstrip("\n").split("\n") if said.strip() else []


def test_bash_completes_names_stages_and_options(start: Start) -> None:
    start(Front(("delay:20ms,jitter=5ms", "loss:1%"), name="web"))
    assert complete("status", "") == ["web"]
    assert complete("set", "--name", "w") == ["web"]
    assert complete("set", "delay", ":", "ti") == ["time=20ms", "times=none"]
    assert "jitter=5ms" in complete("set", "delay", ":")
    assert complete("set", "delay", ":", "time", "=", "50ms,ji") == ["50ms,jitter=5ms"]
    assert complete("set", "loss", ":", "prob") == ["probability=1%"]
    assert complete("set", "delay", ":", "time", "=", "") == ["20ms"]
    assert "delay:time=20ms" in complete("set", "de")
    assert complete("set", "--name", "web", "dely", ":", "t") == []


def test_other_shells_complete_whole_words(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    start(Front(("delay:20ms,jitter=5ms", "loss:1%"), name="web"))
    monkeypatch.delenv("COMP_WORDS", raising=False)
    assert changes_of("web", "delay:ti") == ["delay:time=20ms", "delay:times=none"]
    assert changes_of(None, "delay:time=50ms,ji") == ["delay:time=50ms,jitter=5ms"]


def test_completion_without_a_shaper_offers_nothing(runtime: Path) -> None:
    assert complete("status", "") == []
    assert complete("set", "de") == []
