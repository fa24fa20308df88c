"""The command line: help, errors in one line with the right status, output for pipes."""

import json
import os
import re
import shlex
import subprocess
import sys
import time
from itertools import product
from pathlib import Path

import pytest
from typer.core import TyperOption

from shaper import cli
from shaper.cli import main
from shaper.spec.load import builtin_names
from tests.captures import EPOCH, UDP, pcap
from tests.commands import COMMANDS
from tests.schema import schema


def shaper(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", "import sys; from shaper.cli import main; sys.exit(main())", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment})


@pytest.fixture
def capture(tmp_path: Path) -> str:
    file = tmp_path / "in.pcap"
    file.write_bytes(pcap([(EPOCH, UDP)]))
    return str(file)


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_has_examples_and_fits_80_columns(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert main([*command.split(), "--help"]) == 0
    out = capsys.readouterr().out
    assert f"shaper {command}" in out.split("Examples:\n")[1]
    assert max(len(line) for line in out.splitlines()) <= 80


@pytest.mark.parametrize("command", COMMANDS)
def test_examples_have_options_that_there_are(command: str) -> None:
    known = {name for parameter in COMMANDS[command].params for name in parameter.opts}
    found = [shlex.split(line, comments=True) for line in (COMMANDS[command].epilog or "").splitlines()[2:]]
    own = [words[: words.index("--")] if "--" in words else words for words in found if command in words]
    assert own
    for words in own:
        assert {word.partition("=")[0] for word in words if word.startswith("-")} <= known


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_is_listed_as_its_own_help_begins(command: str) -> None:
    summary = (COMMANDS[command].help or "").split("\n\n")[0]
    assert cli.COMMANDS[command] == summary.replace("\n", " ")


def test_each_command_is_listed_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    width = max(map(len, COMMANDS))
    for name, summary in cli.COMMANDS.items():
        assert f"  {name:{width}}  {summary}" in lines
    for heading in cli.GROUPS:
        assert f"{heading}:" in lines


@pytest.mark.parametrize("arguments", [["--help"], ["start", "--help"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    code = f"import sys; from shaper.cli import main; main({arguments}); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.splitlines()[-1].split())
    assert not loaded & {"scapy", "trio", "rich", "pydantic", "matplotlib", "asyncio"}


@pytest.mark.alone
def test_help_takes_little_longer_than_python_itself() -> None:
    def seconds(*arguments: str) -> float:
        begin = time.perf_counter()
        subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
        return time.perf_counter() - begin

    # The best of several, since the machine may be busy; on an idle one 0.05 s against 0.2 s.
    bare = min(seconds("-c", "pass") for _ in range(5))
    full = min(seconds("-c", "from shaper.cli import main; main(['--help'])") for _ in range(5))
    assert full < 10 * bare


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    from importlib.metadata import version

    for option in ("--version", "-V"):
        assert main([option]) == 0
        assert capsys.readouterr().out == f"shaper {version('nfq-shaper')}\n"


def test_without_a_command_help_is_shown_and_the_status_is_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert capsys.readouterr().out.startswith("Usage: shaper")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_can_complete_commands_and_policies(shell: str) -> None:
    # Else the shell that runs the tests decides.
    done = shaper("--show-completion", shell, _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1")
    assert done.returncode == 0
    assert "_SHAPER_COMPLETE" in done.stdout


def test_a_policy_is_completed() -> None:
    words = {"COMP_WORDS": "shaper policies sp", "COMP_CWORD": "2", "_SHAPER_COMPLETE": "complete_bash"}
    assert shaper(**words).stdout.split() == ["spread_burst"]


POLICY = "from shaper import Policy\n\nclass One(Policy):\n    pass\n"
FAULTY_FILES = {
    "none.py": ("x = 1\n", "must define one subclass of shaper.Policy, but it defines none"),
    "two.py": (POLICY + "\nclass Two(Policy):\n    pass\n", "it defines 2: One, Two"),
    "mutable.py": (POLICY.replace("pass", "held = []"), "One.held is a list that all flows would share"),
    "syntax.py": ("from shaper import Policy\ndef broken(:\n", "syntax.py:2: "),
    "crash.py": ("1 / 0\n", "crash.py: ZeroDivisionError: division by zero"),
    "typo.py": (POLICY.replace("pass", "def on_pakcet(self, packet, now): ..."), "did you mean 'on_packet'?"),
}


@pytest.mark.parametrize("name", FAULTY_FILES)
@pytest.mark.parametrize("command", ["replay", "policies"])
def test_a_faulty_policy_file_gives_one_line_and_status_2(
    command: str, name: str, capture: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text, complaint = FAULTY_FILES[name]
    file = tmp_path / name
    file.write_text(text)
    arguments = ["policies", str(file)] if command == "policies" else ["replay", capture, "--policy", str(file)]
    assert main(arguments) == 2
    one_line(capsys, complaint)
    assert main([*arguments, "--debug"]) == 2
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("spec", "complaint"),
    [
        ("dely", "there is no policy 'dely' (did you mean 'delay'?); see `shaper policies`"),
        ("./missing.py", "there is no file missing.py"),
        ("delay:tme=3ms", "delay has no option 'tme' (did you mean 'time'?); it has time, "),
        ("delay:time=20", "delay: option time: '20' needs a unit of time, such as 20ms"),
        ("delay:time=20furlongs", "delay: option time: '20furlongs' needs a unit of time"),
        ('delay:time="20ms', "delay: a quote is not closed"),
        ("delay:time=11s", "delay: time=11s is longer than any packet may be held; lower it, or raise --max-hold"),
        ("nowhere.module:Class", "there is no policy or module 'nowhere.module'"),
    ],
)
def test_a_bad_spec_gives_one_line_and_status_2(
    spec: str, complaint: str, capture: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["replay", capture, "--policy", spec]) == 2
    one_line(capsys, complaint)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["frobnicate"], "No such command 'frobnicate'"),
        (["replay"], "Missing argument 'IN'; see `shaper replay --help`"),
        (["replay", "in.pcap"], "Missing option '--policy'"),
        (["replay", "in.pcap", "--policy", "delay", "--max-hold", "20"], "'20' needs a unit of time"),
        (["policies", "--frob"], "No such option: --frob"),
    ],
)
def test_a_mistake_in_the_command_line_gives_one_line_and_status_2(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    one_line(capsys, complaint)


@pytest.mark.parametrize(
    ("arguments", "status", "complaint"),
    [
        (["replay", "missing.pcap", "--policy", "delay"], 1, "missing.pcap: No such file or directory"),
        (["replay", __file__, "--policy", "delay"], 1, f"{__file__} is neither a pcap nor a pcapng file"),
        (["replay", "CAPTURE", "--policy", "delay", "-o", "/nowhere/x"], 1, "/nowhere/x: No such file"),
        (
            ["replay", "CAPTURE", "--policy", "delay", "--json=/nowhere/x"],
            1,
            "/nowhere/x: No such file or directory",
        ),
        (["replay", "CAPTURE", "--policy", "delay", "--filter", "udp prt 1"], 2, "filter 'udp prt 1' on "),
    ],
)
def test_a_file_that_fails_gives_one_line(
    arguments: list[str], status: int, complaint: str, capture: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([capture if argument == "CAPTURE" else argument for argument in arguments]) == status
    one_line(capsys, complaint)


@pytest.mark.parametrize(
    "arguments", [[__file__], ["CAPTURE", "--filter", "udp prt 1"], ["CAPTURE", "--max-hold", "x"]]
)
def test_what_can_t_be_replayed_leaves_no_file_behind(arguments: list[str], capture: str, tmp_path: Path) -> None:
    outputs = ["-o", str(tmp_path / "out"), "--journal", str(tmp_path / "journal"), f"--json={tmp_path / 'json'}"]
    arguments = [capture if argument == "CAPTURE" else argument for argument in arguments]
    assert main(["replay", "--policy", "delay", *outputs, *arguments]) != 0
    assert [file.name for file in tmp_path.iterdir()] == ["in.pcap"]


def test_a_missing_tcpdump_is_named(
    capture: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert main(["replay", capture, "--policy", "delay", "--filter", "udp"]) == 1
    one_line(capsys, "--filter needs tcpdump: apt install tcpdump")


def one_line(capsys: pytest.CaptureFixture[str], complaint: str) -> None:
    error = capsys.readouterr().err
    assert error.startswith("shaper: ")
    assert complaint in error
    assert error.count("\n") == 1


def test_an_interrupt_is_quiet(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("shaper.report.manual.entries", interrupt)
    assert main(["policies"]) == 130
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("arguments", [["policies"], ["policies", "delay"], ["--help"]])
def test_a_reader_that_goes_away_is_no_error(arguments: list[str]) -> None:
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-c", "import sys; from shaper.cli import main; sys.exit(main())", *arguments]
    with os.fdopen(write, "wb") as pipe:
        done = subprocess.run(command, stdout=pipe, stderr=subprocess.PIPE, text=True)
    assert done.stderr == ""


@pytest.mark.parametrize("command", COMMANDS)
def test_an_option_that_is_no_list_is_given_once(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    single = [param for param in COMMANDS[command].params if isinstance(param, TyperOption) and not param.multiple]
    for option in single:
        for first, second in product(option.opts, option.opts):
            words = [first, second] if option.is_flag else [f"{first}=1", second, "2"]
            if first == "--json":
                words = ["--json", "--json=2"]
            assert main([command, *words]) == 2
            one_line(capsys, f"{option.opts[0]} can be given only once; see `shaper {command} --help`")


def test_a_list_may_be_given_several_times(capture: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", capture, "--policy", "delay:1ms", "--policy", "delay:2ms", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["policies"] == ["delay:1ms", "delay:2ms"]


def test_a_bare_json_takes_no_word_as_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["policies", "--json", "delay"]) == 0
    assert json.loads(capsys.readouterr().out)["policies"][0]["name"] == "delay"
    assert main(["policies", "--json=out.json", "delay"]) == 0
    assert "Every packet is held" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["out.json"]
    assert main(["policies", "delay", "--json", "out.json"]) == 2
    one_line(capsys, "unexpected extra argument(s) (out.json)")


WITH_JSON = [command for command, known in COMMANDS.items() if "json" in {param.name for param in known.params}]


@pytest.mark.parametrize("command", WITH_JSON)
def test_every_command_s_json_may_be_bare(command: str) -> None:
    parser = COMMANDS[command]
    words = ["--json", "word", "--unknown"]
    with parser.make_context(command, words, resilient_parsing=True) as context:
        assert context.params["json"] == Path("-")
    with parser.make_context(command, ["--json=word"], resilient_parsing=True) as context:
        assert context.params["json"] == Path("word")


@pytest.mark.parametrize("words", [["echo", "--json", "--debug", "--json"], ["--", "echo", "--json", "--debug"]])
@pytest.mark.parametrize("command", cli.WRAPPERS)
def test_options_behind_a_command_are_its_own(command: str, words: list[str]) -> None:
    own = ["--policy", "delay"] if command == "run" else []
    with COMMANDS[command].make_context(command, [*own, *words]) as context:
        assert context.params["command"] == words[words.index("echo") :]
        assert context.params["json"] is None
        assert not context.find_object(dict)


@pytest.mark.parametrize("arguments", [["policies", "delay"], ["profiles", "3g"], ["profiles"]])
def test_nothing_is_printed_beside_the_document_of_a_listing(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)
    assert err == ""


def test_debug_stands_before_or_behind_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (
        ["--debug", "policies", "frob"],
        ["policies", "--debug", "frob"],
        ["policies", "frob", "--debug"],
    ):
        assert main(arguments) == 2
        assert "Traceback" in capsys.readouterr().err


def test_quiet_stands_before_or_behind_the_command(capture: str, capsys: pytest.CaptureFixture[str]) -> None:
    replay = ["replay", capture, "-p", "delay:1ms"]
    for arguments in (["--quiet", *replay], ["-q", *replay], [*replay, "-q"]):
        assert main(arguments) == 0
        assert capsys.readouterr() == ("", "")
    assert main([*replay, "--quiet", "--json"]) == 0
    out, err = capsys.readouterr()
    assert (json.loads(out)["sent"], err) == (1, "")
    assert main([*replay]) == 0
    assert capsys.readouterr().out
    assert main(["new", str(Path(capture).with_name("mine.py")), "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")
    assert main(["policies", "delay", "-q"]) == 0  # a listing is what was asked for
    assert capsys.readouterr().out
    assert main(["policies", "frob", "-q"]) == 2
    assert capsys.readouterr().err


def test_verbose_stands_before_or_behind_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('pipeline = ["delay:1ms"]\n')
    for arguments in (["--verbose", "profiles", str(file)], ["profiles", str(file), "--verbose"]):
        assert main(arguments) == 0
        assert capsys.readouterr().err == f"shaper: reading {file}\n"
    assert main(["profiles", str(file)]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("command", ["", "run", "set"])
def test_help_of_a_command(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["help", *command.split()]) == 0
    helped = capsys.readouterr().out
    assert main([*command.split(), "--help"]) == 0
    assert capsys.readouterr().out == helped
    assert main(["help", "frob"]) == 2
    assert "No such command 'frob'" in capsys.readouterr().err


def test_all_policies_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policies"]) == 0
    out = capsys.readouterr().out
    for name in builtin_names():
        assert f"\n{name} " in out


@pytest.mark.parametrize("name", builtin_names())
def test_a_policy_s_page_has_its_options_an_example_and_a_timeline(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["policies", name]) == 0
    out = capsys.readouterr().out
    assert re.search(rf"shaper start --policy '?{name}\b", out)
    assert f"Timeline of {name}" in out
    assert "only " in out
    assert max(len(line) for line in out.splitlines()) <= 80


def test_the_policies_document_has_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policies", "--json"]) == 0
    text = capsys.readouterr()
    document = json.loads(text.out)
    schema("policies").validate(document)
    assert [policy["name"] for policy in document["policies"]][: len(builtin_names())] == builtin_names()
    (delay,) = (policy for policy in document["policies"] if policy["name"] == "delay")
    (time,) = (option for option in delay["options"] if option["name"] == "time")
    assert (time["kind"], time["default"], time["common"]) == ("duration", "100ms", False)


def test_a_file_s_policy_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mine.py"
    file.write_text(POLICY.replace("pass", '"""It does little.\n\n    Very little.\n    """'))
    assert main(["policies", str(file)]) == 0
    out = capsys.readouterr().out
    assert "It does little." in out
    assert "Very little." in out
