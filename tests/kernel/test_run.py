"""`shaper run`: a command in a private, shaped network."""

import json
import os
import pty
import re
import select
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from shaper import cli
from shaper.cli.run import EXAMPLES
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
    done = run("--policy", "delay", "--filter", "ip6", "--verbose", "--json", "--", sys.executable, "-c", TALK, "5")
    assert json.loads(done.stdout)["taken"] == 5
    # What it has set and started, in this order.
    lines = [line for line in done.stderr.splitlines() if line.startswith("shaper: ")]
    begins = (
        "sysctl net.ipv4.ping_group_range=",
        "queue 100 is bound by process ",
        "filter 'ip6': ",
        "the guardian of ",
    )
    firsts = [next(nth for nth, line in enumerate(lines) if line.startswith(f"shaper: {begin}")) for begin in begins]
    assert firsts == sorted(firsts)
    assert any("iptables: -A " in line and " NFQUEUE " in line for line in lines)


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
        (["--policy", "pass_through", "--filter", "arp", "--", "true"], "filter 'arp': "),
        (["--policy", "pass_through", "--offload", "off", "--", "true"], "--offload off needs --network internet"),
        (["--policy", "pass_through", "--publish", "80", "--", "true"], "--publish needs --network internet"),
        (["--policy", "pass_through"], "Missing argument 'COMMAND'"),
    ],
)
def test_mistakes(given: list[str], line: str) -> None:
    done = subprocess.run([*SHAPER, "run", *given], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith(f"shaper: {line}")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("example", [line for line in (*cli.EXAMPLES, *EXAMPLES) if " ping " in line])
def test_ping_in_the_examples_of_help_shows_both_ways(example: str) -> None:
    _, *words = shlex.split(example)
    done = subprocess.run([*SHAPER, *words], capture_output=True, text=True)
    assert "--policy delay:20ms" in example
    least = re.search(r"rtt min[^=]*= ([0-9.]+)/", done.stdout)
    assert least is not None, done
    assert 40 <= float(least[1]) < 60


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
    assert running.stdout is not None
    assert running.stderr is not None
    running.send_signal(number)
    # Its standard input stays open: by the end of it the command would end, too.
    assert running.stdout.read() == said
    assert "taken" in running.stderr.read()
    assert running.wait(60) == status


SAY = r"""
import os, signal
def say(number, frame):
    os.write(1, b"%d\n" % number)  # a print may be interrupted by the next signal, and must not be called again then
    if number == signal.SIGTERM:
        raise SystemExit(8)
for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD}:
    signal.signal(number, say)
print("ready", flush=True)
while True:
    signal.pause()
"""
PASSED_ON = [
    signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM, signal.SIGWINCH,
    signal.SIGTSTP, signal.SIGURG, signal.SIGVTALRM, signal.SIGPROF, signal.SIGIO, signal.SIGPWR,
    signal.SIGRTMIN, signal.SIGRTMAX, signal.SIGTERM,
]  # fmt: skip


@pytest.mark.parametrize("asked", [["run", "--policy", "delay:20ms"], ["trace"]])
def test_all_signals_reach_the_command_and_end_nothing_else(asked: list[str]) -> None:
    with subprocess.Popen(
        [*SHAPER, *asked, "--", sys.executable, "-c", SAY], stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        for number in PASSED_ON:
            process.send_signal(number)
            assert process.stdout.readline() == f"{int(number)}\n"
        process.stdout.read()
    assert process.returncode == 8


def test_a_signal_of_the_command_to_its_group_does_not_come_back() -> None:
    command = "trap 'echo once' USR1; kill -s USR1 0; sleep 0.5"
    done = subprocess.run(
        [*SHAPER, "run", "--policy", "delay", "--", "bash", "-c", command],
        capture_output=True,
        text=True,
        start_new_session=True,
    )
    assert (done.stdout, done.returncode) == ("once\n", 0)


COUNT = """
import signal, sys, time
counts = {signal.Signals(int(number)): 0 for number in sys.argv[1:]}
def count(number, frame):
    counts[number] += 1
for number in counts:
    signal.signal(number, count)
print("ready", flush=True)
while not all(counts.values()):
    time.sleep(0.05)
time.sleep(0.5)  # a second one would have come by now
print("counted", *counts.values(), flush=True)
raise SystemExit(7)
"""
ASK = """
import socket, time
receiver, sender = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
receiver.bind(("127.0.0.1", 0))
sender.connect(receiver.getsockname())
begin = time.monotonic()
sender.send(b"held while it is stopped")
print("ready", flush=True)
receiver.recv(99)
for _ in range(20):
    time.sleep(0.1)
    print("ti" + "ck", flush=True)
for _ in range(5):
    begin = time.monotonic()
    sender.send(b"")
    receiver.recv(99)
    assert time.monotonic() - begin > 0.3, time.monotonic() - begin
print("still delayed", flush=True)
raise SystemExit(7)
"""


class Terminal:
    """An interactive shell, with job control, on a terminal of its own."""

    def __init__(self) -> None:
        self.pid, self._terminal = pty.fork()
        if self.pid == 0:
            os.execvpe("bash", ["bash", "--norc", "-i"], {**os.environ, "PS1": "next> "})
        self._unread = ""
        self.until("next> ")

    def type(self, text: str) -> None:
        os.write(self._terminal, text.encode())

    def until(self, text: str) -> str:
        """What is printed until this text, inclusive."""
        deadline = time.monotonic() + 60
        while text not in self._unread:
            assert select.select([self._terminal], [], [], deadline - time.monotonic())[0], self._unread
            self._unread += os.read(self._terminal, 4096).decode()
        before, _, self._unread = self._unread.partition(text)
        return before + text

    def close(self) -> None:
        os.close(self._terminal)
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    made = Terminal()
    yield made
    made.close()


def line(
    program: str, *given: int, asked: Sequence[str] = ("run", "--policy", "delay:300ms", "--json=out.json")
) -> str:
    return shlex.join([*SHAPER, *asked, "--", sys.executable, "-c", program, *map(str, map(int, given))])


def test_ctrl_z_stops_the_job_and_fg_keeps_it_shaped(terminal: Terminal, tmp_path: Path) -> None:
    terminal.type(f"cd {tmp_path}; {line(ASK)}\n")
    terminal.until("ready\r\n")
    for _ in range(2):
        terminal.type("\x1a")
        assert "Stopped" in terminal.until("next> ")
        time.sleep(2.5)  # the watchdog's time is 1 s
        terminal.type("fg\n")
        terminal.until("tick")  # which is not in the program's text, that `fg` prints
    assert "still delayed" in terminal.until("next> ")
    terminal.type("echo status $?\n")
    terminal.until("status 7\r\n")
    summary = json.loads((tmp_path / "out.json").read_text())
    assert (summary["taken"], summary["sent"], summary["bypassed"]) == (6, 6, 0)


def test_a_traced_command_can_be_stopped_and_continued(terminal: Terminal, tmp_path: Path) -> None:
    terminal.type(f"cd {tmp_path}; {line(COUNT, signal.SIGUSR1, asked=['trace'])}\n")
    terminal.until("ready\r\n")
    terminal.type("\x1a")
    assert "Stopped" in terminal.until("next> ")
    terminal.type("bg; sleep 1; kill -USR1 $(jobs -p); wait %1; echo status $?\n")
    terminal.until("counted 1")
    terminal.until("status 7\r\n")


def test_a_command_that_goes_on_after_a_ctrl_z_does_not_stop_shaper(terminal: Terminal, tmp_path: Path) -> None:
    terminal.type(f"cd {tmp_path}; {line(COUNT, signal.SIGTSTP)}\n")
    terminal.until("ready\r\n")
    terminal.type("\x1a")
    terminal.until("counted 1\r\n")
    assert "Stopped" not in terminal.until("next> ")


def test_what_a_terminal_sends_reaches_the_command_once(terminal: Terminal, tmp_path: Path) -> None:
    terminal.type(f"cd {tmp_path}; {line(COUNT, signal.SIGINT, signal.SIGQUIT)}\n")
    terminal.until("ready\r\n")
    terminal.type("\x03\x1c")
    terminal.until("counted 1 1\r\n")
    terminal.until("next> ")
    terminal.type("echo status $?\n")
    terminal.until("status 7\r\n")


def test_a_signal_from_elsewhere_reaches_a_command_in_the_foreground(terminal: Terminal, tmp_path: Path) -> None:
    terminal.type(f"cd {tmp_path}; (sleep 3; kill -INT $(pgrep -o -P $$ python)) & {line(COUNT, signal.SIGINT)}\n")
    terminal.until("counted 1\r\n")


def test_without_a_command_a_shell_runs(terminal: Terminal) -> None:
    terminal.type(f"SHELL=/bin/sh {shlex.join(SHAPER)} run --policy pass_through\n")
    terminal.type("cat /proc/net/dev | wc -l; echo $((41 + 1)) lines; exit 7\n")
    assert "3\r\n" in terminal.until("42 lines\r\n")
    terminal.until("next> ")
    terminal.type("echo status $?\n")
    terminal.until("status 7\r\n")


def test_stopped_and_continued_without_a_terminal(tmp_path: Path) -> None:
    with subprocess.Popen(
        [*SHAPER, "run", "--policy", "delay:300ms", "--", sys.executable, "-c", ASK],
        stdout=subprocess.PIPE,
        text=True,
        # SIGTSTP stops nobody in an orphaned process group, as the tests' own may be; see setpgid(2). This one isn't.
        process_group=0,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTSTP)
        assert os.waitid(os.P_PID, process.pid, os.WSTOPPED)
        time.sleep(2.5)
        process.send_signal(signal.SIGCONT)
        assert "still delayed\n" in process.stdout.read()
    assert process.returncode == 7
