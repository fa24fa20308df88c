"""`shaper run`: a command in a private, shaped network."""

import json
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.schema import schema

pytestmark = pytest.mark.usefixtures("network")

Run = Callable[..., subprocess.CompletedProcess[str]]
SHAPER = (sys.executable, "-m", "shaper")

TALK = """
import socket, sys
receiver = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
receiver.bind(("::", 0))
for address in ("127.0.0.1", "::1"):
    sender = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    for number in range(int(sys.argv[1])):
        sender.sendto(bytes([number]), (address, receiver.getsockname()[1]))
    assert [receiver.recv(9)[0] for _ in range(int(sys.argv[1]))] == list(range(int(sys.argv[1])))
"""


@pytest.fixture(params=["root", "ordinary user"])
def run(request: pytest.FixtureRequest) -> Run:
    """`shaper run`, by either kind of user."""
    if request.param == "root":
        return lambda *given: subprocess.run([*SHAPER, "run", *given], capture_output=True, text=True)
    ordinary: Run = request.getfixturevalue("ordinary")
    return lambda *given: ordinary(*SHAPER, "run", *given)


def test_its_packets_are_shaped_in_order(run: Run) -> None:
    done = run("--policy", "delay:20ms", "--json", "--", sys.executable, "-c", TALK, "30")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    schema("start").validate(summary)
    assert (summary["taken"], summary["sent"], summary["bypassed"]) == (60, 60, 0)
    assert summary["wanted_hold"]["p50_ms"] == pytest.approx(20, abs=0.1)


def test_the_command_is_the_callers(ordinary: Run) -> None:
    done = ordinary(*SHAPER, "run", "--policy", "pass_through", "--", "id", "-u")
    assert (done.stdout, done.returncode) == ("4711\n", 0)


BACKEND = """
folder=$(mktemp -d); trap 'rm -r "$folder"' EXIT
for command in iptables ip6tables; do
    for verb in save restore; do
        ln -s "$(readlink -f "$(PATH=$PATH:/usr/sbin command -v $command-$0-$verb)")" "$folder/$command-$verb"
    done
done
PATH=$folder:$PATH "$@"
"""


@pytest.mark.parametrize("backend", ["nft", "legacy"])
def test_an_ordinary_user_with_either_backend_of_iptables(ordinary: Run, backend: str) -> None:
    command = [sys.executable, "-c", TALK, "5"]
    done = ordinary("sh", "-ec", BACKEND, backend, *SHAPER, "run", "--policy", "delay:1ms", "--json", "--", *command)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["taken"] == 10


def test_exit_status_and_output_are_the_commands(run: Run) -> None:
    done = run("--policy", "pass_through", "--", "sh", "-c", "echo out; echo err >&2; exit 3")
    assert (done.stdout, done.returncode) == ("out\n", 3)
    assert done.stderr.startswith("err\n")
    assert "taken" in done.stderr


def test_with_json_the_commands_output_goes_to_standard_error(run: Run) -> None:
    done = run("--policy", "pass_through", "--json", "--", "echo", "out")
    assert json.loads(done.stdout)["taken"] == 0
    assert done.stderr.startswith("out\n")


def test_a_filter_leaves_other_packets_alone(run: Run) -> None:
    done = run("--policy", "delay", "--filter", "ip6", "--json", "--", sys.executable, "-c", TALK, "5")
    assert json.loads(done.stdout)["taken"] == 5


def test_a_policy_that_fails(tmp_path: Path) -> None:
    file = tmp_path / "bad.py"
    file.write_text("from shaper import Policy\nclass Bad(Policy):\n    def on_packet(self, packet, now): 1 / 0\n")
    given = ["--policy", str(file), "--", sys.executable, "-c", TALK, "2"]
    done = subprocess.run([*SHAPER, "run", *given], capture_output=True, text=True)
    assert done.returncode == 1
    assert f"shaper: policy bad failed at {file}:3: ZeroDivisionError: division by zero" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (["--policy", "pass_thru", "--", "true"], "there is no policy 'pass_thru' (did you mean 'pass_through'?)"),
        (["--policy", "pass_through", "--mtu", "5", "--", "true"], "an MTU of 5 bytes carries no IP packets"),
        (["--policy", "pass_through", "--filter", "arp", "--", "true"], "filter 'arp': expression rejects all"),
        (["--policy", "pass_through"], "Missing argument 'COMMAND'"),
    ],
)
def test_mistakes(given: list[str], line: str) -> None:
    done = subprocess.run([*SHAPER, "run", *given], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith(f"shaper: {line}")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("asked", [["run", "--policy", "delay"], ["run", "--policy", "delay", "--trace"], ["trace"]])
@pytest.mark.parametrize(
    ("program", "line", "status"),
    [
        ("no-such-program", "there is no program 'no-such-program' to run", 127),
        ("/no/such/program", "there is no program '/no/such/program' to run", 127),
        ("/etc/passwd", "'/etc/passwd' can't be run (Permission denied)", 126),
        ("/etc", "'/etc' can't be run (Is a directory)", 126),
    ],
)
def test_a_command_that_can_t_be_run(asked: list[str], program: str, line: str, status: int) -> None:
    done = subprocess.run([*SHAPER, *asked, "--", program], capture_output=True, text=True)
    assert (done.stderr, done.returncode) == (f"shaper: {line}\n", status)
    shell = subprocess.run(["sh", "-c", program], capture_output=True)
    assert shell.returncode == status


def test_a_command_whose_interpreter_is_missing(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)
    done = subprocess.run([*SHAPER, "run", "--policy", "delay", "--", str(script)], capture_output=True, text=True)
    assert done.stderr.startswith(f"shaper: can't run {script}: No such file or directory\n")
    assert done.returncode == 126


@pytest.fixture
def running() -> Iterator[subprocess.Popen[str]]:
    """A `shaper run` whose command says which signal it got."""
    command = "trap 'echo interrupted; exit 7' INT; trap 'echo terminated; exit 8' TERM; echo ready; read x"
    process = subprocess.Popen(
        [*SHAPER, "run", "--policy", "delay:20ms", "--", "bash", "-c", command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    yield process
    process.communicate(timeout=60)


@pytest.mark.parametrize(
    ("number", "said", "status"), [(signal.SIGTERM, "terminated\n", 8), (signal.SIGINT, "interrupted\n", 7)]
)
def test_signals_go_to_the_command(running: subprocess.Popen[str], number: int, said: str, status: int) -> None:
    running.send_signal(number)
    out, err = running.communicate(timeout=60)
    assert (out, running.returncode) == (said, status)
    assert "taken" in err


COUNT = """
import signal, time
times = 0
def count(number, frame):
    global times
    times += 1
signal.signal(signal.SIGINT, count)
print("ready", flush=True)
while not times:
    time.sleep(0.05)
time.sleep(0.5)  # a second one would have come by now
print("interrupted", times)
raise SystemExit(7)
"""


def test_ctrl_c_reaches_the_command_once() -> None:
    line = shlex.join([*SHAPER, "run", "--policy", "delay:20ms", "--", sys.executable, "-c", COUNT])
    # script(1) gives it a terminal. It is to take the shell's place: a shell that waited for it, as dash
    # does and bash doesn't, would get the Ctrl-C as well and give 130 as the status.
    with subprocess.Popen(
        ["script", "-qec", f"exec {line}", "/dev/null"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as terminal:
        assert terminal.stdout is not None
        assert terminal.stdin is not None
        assert terminal.stdout.readline() == "ready\n"
        terminal.stdin.write("\x03")
        terminal.stdin.flush()
        out = terminal.stdout.read()
    assert "interrupted 1\n" in out
    assert "taken" in out
    assert terminal.returncode == 7
