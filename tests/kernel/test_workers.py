"""Several workers, one process per queue: together they lose and count no more than one would."""

import os
import re
import signal
import socket
import subprocess
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from shaper.cli import main
from shaper.linux import cpus
from shaper.live.nfqueue.counters import PATH as COUNTS
from shaper.live.nfqueue.counters import QueueCounters
from tests.kernel.shaping import START, Receiver, Shaper, children, field
from tests.schema import schema

WORKERS = ("--workers", "2", "--queue", "40", "--protocol", "udp")
QUEUES = (40, 41)
HOSTS = 64
"""How many addresses: enough that the kernel's hash, which differs between machines, leaves no queue empty."""
EACH = 20
FIRST, LAST = min(os.sched_getaffinity(0)), max(os.sched_getaffinity(0))
PORT = 8765
CLIENTS = [f"127.0.2.{number}" for number in range(1, 33)]
SERVER6, CLIENTS6 = "fd00::2:0", [f"fd00::1:{number:x}" for number in range(1, 33)]
EVERYWHERE = field(os.getpid(), "Cpus_allowed_list")


class Hosts:
    """Sockets on many addresses, each of which sends to one receiver."""

    def __init__(self, receiver: Receiver, opened: ExitStack) -> None:
        self.receiver = receiver
        self.sockets = []
        for host in range(HOSTS):
            sender = opened.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            sender.bind((f"127.0.1.{host}", 0))
            sender.settimeout(20)
            self.sockets.append(sender)

    def send(self) -> list[tuple[int, int]]:
        """Send several packets from each host, host by host in turn; returns what was sent."""
        sent = [(host, number) for number in range(EACH) for host in range(HOSTS)]
        for host, number in sent:
            self.sockets[host].sendto(bytes([host, number]), self.receiver.getsockname())
        return sent

    def receive(self) -> dict[int, list[int]]:
        """What came from each host, in order."""
        came = defaultdict(list)
        for _ in range(HOSTS * EACH):
            host, number = self.receiver.recv(100)
            came[host].append(number)
        return came


ALL_IN_ORDER = {host: list(range(EACH)) for host in range(HOSTS)}


@pytest.fixture
def hosts(receiver: Receiver) -> Iterator[Hosts]:
    with ExitStack() as opened:
        yield Hosts(receiver, opened)


def is_realtime(pid: int, *, priority: int) -> bool:
    policy = os.SCHED_FIFO | os.SCHED_RESET_ON_FORK
    return os.sched_getscheduler(pid) == policy and os.sched_getparam(pid).sched_priority == priority


def wait_until(is_so: Callable[[], bool]) -> None:
    """Wait for something that processes which are not our children do."""
    deadline = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def wait_until_all_held() -> None:
    """Wait until both queues together hold all that was sent."""
    counters = [QueueCounters(queue) for queue in QUEUES]
    wait_until(lambda: sum(row.held for each in counters if (row := each.read())) == HOSTS * EACH)
    for each in counters:
        row = each.read()
        assert row is not None
        assert row.held
        each.close()


def ours(rules: list[str]) -> list[str]:
    return [line for line in rules if "shaper" in line]


def test_a_signal_ends_all_and_all_is_delivered_and_counted_once(
    real_root: None, tmp_path: Path, hosts: Hosts, rule_set: Callable[[], list[str]]
) -> None:
    options = ("--policy", "delay:10s", "--max-hold", "20s", "--cpu", f"{LAST},{FIRST}", "--realtime")
    with Shaper(tmp_path, *WORKERS, *options) as shaper:
        assert [line for line in rule_set() if "--queue-balance 40:41" in line]
        workers = shaper.engines
        guardians = [guardian for worker in workers for guardian in children(worker)]
        assert len(workers) == len(guardians) == 2
        assert os.sched_getscheduler(shaper.process.pid) == os.SCHED_OTHER
        for cpu, worker in zip((LAST, FIRST), workers, strict=True):
            assert is_realtime(worker, priority=1)
            assert field(worker, "Cpus_allowed_list") == str(cpu)
        for guardian in guardians:
            wait_until(partial(is_realtime, guardian, priority=2))
            assert field(guardian, "Cpus_allowed_list") == EVERYWHERE
        hosts.send()
        wait_until_all_held()
        summary = shaper.stop()
        assert hosts.receive() == ALL_IN_ORDER
    schema("start").validate(summary)
    assert shaper.status == 0, shaper.errors
    assert (summary["taken"], summary["sent"], summary["bypassed"]) == (HOSTS * EACH, HOSTS * EACH, 0)
    assert not [pid for pid in workers + guardians if Path(f"/proc/{pid}").exists()]
    assert not ours(rule_set())


def test_both_directions_of_a_pair_have_one_worker(tmp_path: Path, network: None) -> None:
    """Shown by a policy with one object per connection: it drops an answer if it has seen no request."""
    policy = tmp_path / "asked.py"
    policy.write_text(
        "from shaper import Drop, Policy\n\n\nclass Asked(Policy):\n    scope = 'connection'\n\n"
        "    def start(self):\n        self._asked = False\n\n    def on_packet(self, packet, now):\n"
        f"        if packet.flow.sport == {PORT} and not self._asked:\n            return Drop(packet)\n"
        "        self._asked = True\n"
    )
    add = "".join(f"address add {each}/128 dev lo nodad\n" for each in (SERVER6, *CLIENTS6))
    subprocess.run(["ip", "-6", "-batch", "-"], input=add, check=True, text=True)
    options = ("--workers", "2", "--queue", "40", "--port", str(PORT))
    with Shaper(tmp_path, *options, "--policy", str(policy)) as shaper:
        before = [0, 0]
        for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
            for server, clients in (("127.0.0.1", CLIENTS), (SERVER6, CLIENTS6)):
                exchange(kind, server, clients)
                after = [taken(queue) for queue in QUEUES]
                assert all(now > earlier for now, earlier in zip(after, before, strict=True)), "one worker had none"
                before = after
        summary = shaper.stop()
    assert shaper.status == 0, shaper.errors
    assert (summary["dropped"], summary["bypassed"]) == (0, 0)
    assert summary["sent"] == summary["taken"]


def exchange(kind: socket.SocketKind, server: str, clients: list[str]) -> None:
    """A request and an answer between the server and each of these addresses, by UDP or TCP."""
    family = socket.AF_INET6 if ":" in server else socket.AF_INET
    with socket.socket(family, kind) as listener:
        listener.settimeout(20)
        listener.bind((server, PORT))
        if kind == socket.SOCK_STREAM:
            listener.listen()
        for address in clients:
            with ExitStack() as opened:
                client = opened.enter_context(socket.socket(family, kind))
                client.settimeout(20)
                client.bind((address, 0))
                client.connect((server, PORT))
                answering = listener
                if kind == socket.SOCK_STREAM:
                    answering = opened.enter_context(listener.accept()[0])
                client.send(b"there")
                said, source = answering.recvfrom(100)
                assert said == b"there"
                answering.sendto(b"back", source or client.getsockname())
                assert client.recv(100) == b"back"


def taken(queue: int) -> int:
    """How many packets the kernel has given this queue: the number of the last one, see `seq_show` in its source."""
    rows = [[int(each) for each in line.split()] for line in COUNTS.read_text().splitlines()]
    return next(row[7] for row in rows if row[0] == queue)


@pytest.mark.parametrize("how", ["killed", "the parent is"])
def test_a_killed_process_loses_nothing(
    tmp_path: Path, hosts: Hosts, rule_set: Callable[[], list[str]], how: str
) -> None:
    with Shaper(tmp_path, *WORKERS, "--policy", "delay:10s", "--max-hold", "20s") as shaper:
        workers = shaper.engines
        guardians = [guardian for worker in workers for guardian in children(worker)]
        hosts.send()
        wait_until_all_held()
        os.kill(workers[1] if how == "killed" else shaper.process.pid, signal.SIGKILL)
        assert hosts.receive() == ALL_IN_ORDER
        status = shaper.process.wait(20)
    if how == "killed":
        assert status == 1
        assert "worker 2 (queue 41) was ended by signal 9 (Killed), so all workers have ended" in shaper.errors
    wait_until(lambda: not [pid for pid in workers + guardians if runs(pid)])
    assert not ours(rule_set())


def runs(pid: int) -> bool:
    try:
        return field(pid, "State")[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_lost_rules_are_set_again(tmp_path: Path, hosts: Hosts, shell: Callable[[str], str]) -> None:
    with Shaper(tmp_path, *WORKERS, "--policy", "delay:100ms") as shaper:
        hosts.send()
        assert hosts.receive() == ALL_IN_ORDER
        shell("iptables -t mangle -F INPUT")
        wait_until(lambda: "another program removed shaper's rules; they are set again" in shaper.errors)
        begun = time.monotonic()
        hosts.send()
        assert hosts.receive() == ALL_IN_ORDER
        assert time.monotonic() - begun > 0.1
        summary = shaper.stop()
    assert (summary["taken"], summary["bypassed"], summary["rules_lost"]) == (2 * HOSTS * EACH, 0, 1)
    assert summary["wanted_hold"]["packets"] == 2 * HOSTS * EACH
    assert summary["wanted_hold"]["p50_ms"] >= 100


def test_a_policy_that_fails_in_one_ends_all(tmp_path: Path, hosts: Hosts, rule_set: Callable[[], list[str]]) -> None:
    policy = tmp_path / "fails.py"
    policy.write_text(
        "from shaper import Policy\n\n\nclass Fails(Policy):\n    def on_packet(self, packet, now):\n        1 / 0\n"
    )
    with Shaper(tmp_path, *WORKERS, "--policy", str(policy)) as shaper:
        hosts.sockets[0].sendto(b"one", hosts.receiver.getsockname())
        assert hosts.receiver.recv(100) == b"one"
        summary = shaper.result()
    assert shaper.status == 1
    assert (summary["policy_failures"], summary["taken"], summary["sent"]) == (1, 1, 1)
    assert f"policy fails failed at {policy}:6: ZeroDivisionError" in shaper.errors
    assert not ours(rule_set())


def test_a_policy_that_never_returns_ends_all(
    real_root: None, tmp_path: Path, hosts: Hosts, rule_set: Callable[[], list[str]]
) -> None:
    """Even with a real-time engine, which its guardian comes before."""
    policy = tmp_path / "spins.py"
    policy.write_text(
        "from shaper import Policy\n\n\nclass Spins(Policy):\n    def on_packet(self, packet, now):\n"
        "        while True:\n            pass\n"
    )
    options = ("--realtime", "--cpu", f"{FIRST},{LAST}", "--watchdog", "200ms")
    with Shaper(tmp_path, *WORKERS, "--policy", str(policy), *options) as shaper:
        hosts.sockets[0].sendto(b"one", hosts.receiver.getsockname())
        assert hosts.receiver.recv(100) == b"one"
        assert shaper.process.wait(20) == 1
    assert "gave no sign of life" in shaper.errors
    assert "spins.py" in shaper.errors
    assert not ours(rule_set())


def test_one_engine_is_ahead_of_others_and_its_guardian_is_replaced(
    real_root: None, tmp_path: Path, network: None
) -> None:
    with Shaper(tmp_path, "--policy", "delay:1ms", "--cpu", str(LAST), "--realtime") as shaper:
        engine = shaper.engine
        (guardian,) = children(engine)
        assert field(engine, "Cpus_allowed_list") == str(LAST)
        assert is_realtime(engine, priority=1)
        # Another one, which the engine starts when it has few privileges left.
        os.kill(guardian, signal.SIGKILL)
        wait_until(lambda: children(engine) not in ([], [guardian]))
        (next_one,) = children(engine)
        wait_until(lambda: field(next_one, "Cpus_allowed_list") == EVERYWHERE)
        assert os.sched_getscheduler(next_one) == os.SCHED_OTHER
        assert shaper.stop()["problems"] == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--cpu", "4095"], "there is no CPU 4095 to run on here; there are "),
        (["--cpu", "0-1"], "--cpu names 2 CPUs for --workers 1; name one for each worker"),
        (["--workers", "0"], "'0' is neither a number from 1 to 64 nor auto"),
        (["--cpu", "x"], "'x' is not a list of CPUs, such as 1, 0,2 or 0-3"),
        (["--workers", "2", "--journal", "j"], "write one file for all packets; use --workers 1"),
        (["--workers", "2", "--queue", "65535"], "go beyond 65535, the last queue"),
    ],
)
def test_what_is_impossible_is_an_error_of_one_line(
    network: None, options: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["start", "--policy", "delay:1ms", *options]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


def test_a_policy_for_all_packets_is_one_per_worker_and_says_so(
    network: None, capsys: pytest.CaptureFixture[str]
) -> None:
    policies = ["--policy", "pass_through", "--policy", "rate:1mbit", "--policy", "delay:1ms"]
    assert main(["start", "--workers", "2", "--dry-run", *policies]) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "shaper: rate: scope=queue is one object per worker; use --workers 1 to have one for all"


@pytest.mark.parametrize(
    ("options", "queues"),
    [(("--yes", "--interface", "any"), "40 to 44"), (("--cpu", f"{FIRST},{FIRST}"), "40 to 41"), ((), "40")],
)
def test_automatic_workers_get_queues_in_a_row(
    network: None,
    options: tuple[str, ...],
    queues: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(cpus, "usable", lambda: 8)
    command = ["start", "--workers", "auto", "--queue", "40", "--policy", "delay:1ms", "--dry-run"]
    assert main([*command, *options]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert re.search(rf"^queues? {queues}: ", out, re.MULTILINE)


def test_realtime_without_the_capability_is_an_error_of_one_line(network: None) -> None:
    command = ["prlimit", "--rtprio=0", "setpriv", "--bounding-set=-sys_nice", "--inh-caps=-sys_nice"]
    done = subprocess.run([*command, *START, "--policy", "delay:1ms", "--realtime"], capture_output=True, text=True)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("shaper: SCHED_FIFO is not permitted: --realtime needs CAP_SYS_NICE, or a limit")
