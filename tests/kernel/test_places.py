"""`shaper start` where a name leads: containers, namespaces, control groups that go and come back."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from fcntl import LOCK_EX, flock
from pathlib import Path

import pytest

from shaper.control.client import Client
from shaper.errors import ShaperError
from shaper.linux.netns import Namespace
from shaper.linux.programs import find
from shaper.live.nfqueue.counters import bound
from shaper.places.cgroup import root
from tests.kernel.hosts import Host
from tests.kernel.shaping import Shaper, children, command_line

pytestmark = pytest.mark.usefixtures("network", "names")

TRIP = 0.1
PROGRAM = """#!/bin/sh
if [ -s '{state}' ]; then cat '{state}'; else echo 'Error: no such container' >&2; exit 125; fi
"""


class Runtime:
    """Containers without a runtime: `docker` and `podman` on PATH, of which podman knows `web`.

    Args:
        folder: for the programs.
    """

    def __init__(self, folder: Path) -> None:
        self._state = folder / "state.json"
        for name, program in (("docker", "#!/bin/sh\necho 'no daemon' >&2; exit 1\n"), ("podman", PROGRAM)):
            (folder / name).write_text(program.format(state=self._state))
            (folder / name).chmod(0o755)

    def knows(self, pid: int | None) -> None:
        """From now on this is the container's process; with 0 it is stopped, with None there is none."""
        known = [{"Id": "c0ffee" * 10, "State": {"Running": bool(pid), "Pid": pid}}]
        new = self._state.with_suffix(".new")
        new.write_text("" if pid is None else json.dumps(known))
        new.rename(self._state)


@pytest.fixture
def names() -> Iterator[None]:
    """Shapers have their names on the whole machine, so of these tests one runs at a time."""
    with open(__file__) as file:
        flock(file, LOCK_EX)
        yield


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runtime:
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return Runtime(folder)


@contextmanager
def container(runtime: Runtime) -> Iterator[Host]:
    """A container that runs for that long."""
    with Host("veth0", ["10.1.0.1/24"], ["10.1.0.2/24"]) as host:
        runtime.knows(host.pid)
        yield host
        runtime.knows(0)
    # The kernel takes its time to delete it with the namespace.
    subprocess.run(["ip", "link", "delete", "veth0"], stderr=subprocess.DEVNULL)


def round_trip(pid: int) -> float:
    """Seconds from a datagram to the container of this process until the answer."""
    namespace = Namespace(Path(f"/proc/{pid}/ns/net"))
    inside: socket.socket = namespace.call(socket.socket, socket.AF_INET, socket.SOCK_DGRAM)
    namespace.close()
    with inside, socket.socket(type=socket.SOCK_DGRAM) as outside:
        inside.bind(("10.1.0.2", 9))
        for end in (inside, outside):
            end.settimeout(10)
        begin = time.monotonic()
        outside.sendto(b"x", ("10.1.0.2", 9))
        inside.sendto(b"y", inside.recvfrom(9)[1])
        outside.recv(9)
        return time.monotonic() - begin


def family_of(pid: int) -> list[int]:
    """A process and all that descend from it."""
    return [pid, *(each for child in children(pid) for each in family_of(child))]


def namespaces_of(pids: list[int]) -> set[str]:
    """The network namespaces in which these processes are, and those that they have open."""
    found = set()
    for pid in pids:
        for path in (Path(f"/proc/{pid}/ns/net"), *Path(f"/proc/{pid}/fd").iterdir()):
            with suppress(OSError):
                found.add(os.readlink(path))
    return {name for name in found if name.startswith("net:")}


def test_a_container_is_followed_through_two_restarts(tmp_path: Path, runtime: Runtime) -> None:
    with ExitStack() as opened:
        with container(runtime) as host:
            udp = ("--policy", "delay:50ms", "--container", "web", "--protocol", "udp")
            shaper = opened.enter_context(Shaper(tmp_path / "s", *udp))
            assert shaper.process.stdout is not None
            said = iter(shaper.process.stdout.readline, "")
            assert TRIP <= round_trip(host.pid) < 5
            Client("web").set("delay", {"time": "60ms"})
        for _ in range(2):
            assert next(line for line in said if "container web is gone; waiting for it" in line)
            status = json.loads(shaped("status", "web", "--json"))
            assert (status["state"], status["pipeline"], status["queues"]) == ("waiting", [], [])
            with container(runtime) as host:
                assert next(line for line in said if "container web is there; shaping" in line)
                assert TRIP * 1.2 <= round_trip(host.pid) < 5
                # Nobody keeps the old one alive.
                here, there = (os.readlink(f"/proc/{pid}/ns/net") for pid in ("thread-self", host.pid))
                assert namespaces_of(family_of(shaper.process.pid)) == {here, there}
        summary = shaper.stop()
    assert summary["taken"] == 6
    assert (summary["lost_to_reload"], summary["bypassed"], shaper.status) == (0, 0, 0)


class Podman:
    """The real Podman, on PATH with a store of its own, and its container `web`, whose image has one program.

    Args:
        folder: for all of it.
        path: the program.
    """

    def __init__(self, folder: Path, path: str) -> None:
        bin, tree = folder / "bin", folder / "tree"
        bin.mkdir()
        runtime = find("runc") or find("crun")
        store = f"--root {folder}/root --runroot {folder}/run --storage-driver vfs --runtime {runtime}"
        (bin / "podman").write_text(f'#!/bin/sh\nexec {path} {store} --cgroup-manager cgroupfs "$@"\n')
        (bin / "podman").chmod(0o755)
        self._program = bin / "podman"
        sleep = str(find("sleep"))
        listed = subprocess.run(["ldd", sleep], capture_output=True, text=True, check=True).stdout
        for file in (sleep, *re.findall(r"/\S+", listed)):
            copy = tree / file[1:]
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, copy)
        subprocess.run(["tar", "-C", str(tree), "-cf", str(folder / "image.tar"), "."], check=True)
        self("import", str(folder / "image.tar"), "only-sleep")
        limits = ("--ulimit", "nofile=1024:4096", "--ulimit", "nproc=1000:2000")
        self("run", "--detach", "--name", "web", "--network", "none", *limits, "only-sleep", sleep, "1000")

    def __call__(self, *words: str) -> str:
        done = subprocess.run([self._program, *words], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"Podman can't do that here: {done.stderr}")
        return done.stdout.strip()

    def connect(self) -> int:
        """Give the container that runs now an interface; returns its process."""
        pid = int(self("inspect", "--format", "{{.State.Pid}}", "web"))
        for line in (
            f"link add veth0 type veth peer name eth0 netns /proc/{pid}/ns/net",
            "addr add 10.1.0.1/24 dev veth0",
            "link set veth0 up",
        ):
            subprocess.run(["ip", *line.split()], check=True)
        inside = ("nsenter", f"--net=/proc/{pid}/ns/net", "ip")
        for line in ("addr add 10.1.0.2/24 dev eth0", "link set eth0 up"):
            subprocess.run([*inside, *line.split()], check=True)
        return pid


@pytest.fixture
def podman(network: None, real_root: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Podman]:
    if (path := find("podman")) is None:
        pytest.skip("needs Podman: apt install podman runc")
    # The names of its sockets must not be long.
    with tempfile.TemporaryDirectory(prefix="shaper-") as folder:
        made = Podman(Path(folder), path)
        monkeypatch.setenv("PATH", f"{folder}/bin:{os.environ['PATH']}")
        yield made
        made("rm", "--force", "--time", "0", "web")
        # conmon has started another podman, which cleans up after the container and still writes there.
        while any(folder.encode() in command_line(int(entry.name)) for entry in Path("/proc").glob("[0-9]*")):
            time.sleep(0.01)


def with_podman(podman: Podman, tmp_path: Path) -> None:
    """The same with real containers."""
    pid = podman.connect()
    with Shaper(tmp_path / "s", "--policy", "delay:50ms", "--container", "web", "--protocol", "udp") as shaper:
        assert shaper.process.stdout is not None
        said = iter(shaper.process.stdout.readline, "")
        assert 0.1 <= round_trip(pid) < 5
        for _ in range(2):
            podman("restart", "--time", "0", "web")
            subprocess.run(["ip", "link", "delete", "veth0"], stderr=subprocess.DEVNULL)
            pid = podman.connect()
            assert next(line for line in said if "container web is there; shaping" in line)
            assert 0.1 <= round_trip(pid) < 5
        summary = shaper.stop()
    assert (summary["taken"], summary["lost_to_reload"], summary["bypassed"], shaper.status) == (6, 0, 0, 0)


if find("podman") or os.environ.get("CI") != "true":
    # CI takes what is skipped for a failure, but not all that it runs on have Podman.
    test_with_podman = with_podman


def test_when_all_is_killed_only_rules_are_left_until_they_are_cleaned(tmp_path: Path, runtime: Runtime) -> None:
    with container(runtime) as host, Shaper(tmp_path / "s", "--policy", "delay:1s", "--container", "web") as shaper:
        family = family_of(shaper.process.pid)
        for pid in family:  # none may see another one's end
            os.kill(pid, signal.SIGSTOP)
        for pid in family:
            os.kill(pid, signal.SIGKILL)
        shaper.process.wait()
        with host.inside():
            while bound():  # what is queued until the last of them has ended is lost
                time.sleep(0.005)
        assert round_trip(host.pid) < 2
        assert "removed the IPv4 and IPv6 rules of process" in shaped("clean", "--container", "web")
        with host.inside():
            rules = subprocess.run(["iptables-save", "-t", "mangle"], capture_output=True, text=True, check=True)
        assert "shaper" not in rules.stdout


def test_a_namespace_is_followed_and_what_was_held_goes_with_it(tmp_path: Path) -> None:
    name = f"test-{time.monotonic_ns()}"
    delay = ("--policy", "delay:5s", "--protocol", "udp", "--journal", str(tmp_path / "j.json"))

    def make() -> socket.socket:
        subprocess.run(["ip", "netns", "add", name], check=True)
        subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
        namespace = Namespace(Path("/run/netns", name))
        made: socket.socket = namespace.call(socket.socket, socket.AF_INET, socket.SOCK_DGRAM)
        namespace.close()
        return made

    try:
        with make() as sender, Shaper(tmp_path / "s", *delay, "--netns", name) as shaper:
            assert shaper.process.stdout is not None
            said = iter(shaper.process.stdout.readline, "")
            for _ in range(3):
                sender.sendto(b"x", ("127.0.0.1", 9))
            while Client(name).status()["held"] < 3:
                pass
            subprocess.run(["ip", "netns", "delete", name], check=True)
            expected = f"network namespace {name} is gone, and 3 packets that were held went with it; waiting for it"
            assert next(line for line in said if expected in line)
            with make() as sender:
                assert next(line for line in said if f"network namespace {name} is there; shaping" in line)
                sender.sendto(b"x", ("127.0.0.1", 9))
                while Client(name).status()["held"] < 1:
                    pass
            summary = shaper.stop()
    finally:
        subprocess.run(["ip", "netns", "delete", name], stderr=subprocess.DEVNULL)
    assert (summary["taken"], summary["problems"], shaper.status) == (4, [], 0)
    assert [(tmp_path / name).read_text().count('"fate"') for name in ("j.json", "j.2.json")] == [3, 1]


def test_a_process_that_ends_ends_the_run(tmp_path: Path, runtime: Runtime) -> None:
    with container(runtime) as host:
        shaper = Shaper(tmp_path, "--policy", "delay", "--pid", str(host.pid))
    with shaper:
        assert f"process {host.pid} is gone\n" in shaper.process.stdout.read() if shaper.process.stdout else ""
        assert shaper.result()["taken"] == 0
    assert (shaper.status, shaper.errors) == (0, "")


def shaped(*words: str) -> str:
    """What a command of shaper's prints; it must succeed."""
    return subprocess.run([sys.executable, "-m", "shaper", *words], check=True, capture_output=True, text=True).stdout


@pytest.fixture
def group() -> Iterator[Path]:
    """A control group of the test's own."""
    try:
        made = Path(tempfile.mkdtemp(prefix="shaper-", dir=root()))
    except (ShaperError, OSError) as error:
        pytest.skip(f"needs cgroup2, and the right to make a group: {error}")
    yield made
    deadline = time.monotonic() + 20
    while made.exists():  # until the last of its processes has ended
        assert time.monotonic() < deadline
        with suppress(OSError):
            made.rmdir()


ECHO = """
import socket, sys
server = socket.create_server(("0.0.0.0", int(sys.argv[1])))
print("ready", flush=True)
while True:
    with server.accept()[0] as client:
        client.sendall(client.recv(100))
"""
CALL = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2]))) as client:
    client.sendall(b"x")
    client.recv(1)
"""


def started(program: str, *arguments: str, group: Path | None = None) -> subprocess.Popen[str]:
    """A Python program, perhaps in a control group."""
    enter = f"echo $$ > {group}/cgroup.procs && " if group else ""
    command = ["sh", "-c", f'{enter}exec "$@"', "sh", sys.executable, "-c", program, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@contextmanager
def server(port: int, group: Path | None = None) -> Iterator[None]:
    """A server that is ready."""
    with started(ECHO, str(port), group=group) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            yield
        finally:
            process.kill()


def test_a_control_group_is_shaped_and_nobody_else(tmp_path: Path, group: Path) -> None:
    arguments = ("--policy", "delay:1ms", "--cgroup", str(group), "--protocol", "tcp", "--name", "group")

    def seen(address: str, port: int, member: Path | None = None) -> list[str]:
        """The packets that begin a connection to this server, of those that are shaped when somebody calls it."""
        Client("group").flows()  # from here on they are counted
        with started(CALL, address, str(port), group=member) as client:
            assert client.wait(60) == 0
        flows = [flow for flow in Client("group").flows() if f"{address}:{port} " in flow["flow"]]
        return sorted({each for flow in flows for each in flow["classes"]} & {"syn", "synack", "handshake-ack"})

    both = ["handshake-ack", "syn", "synack"]
    with Host("veth0", ["10.1.0.1/24"], ["10.1.0.2/24"]) as host, server(82), ExitStack() as opened:
        with host.inside():
            opened.enter_context(server(81))
            opened.enter_context(server(84))
        with server(80, group):
            shaper = opened.enter_context(Shaper(tmp_path / "s", *arguments))
            assert shaper.process.stdout is not None
            said = iter(shaper.process.stdout.readline, "")
            with host.inside():
                assert seen("10.1.0.1", 80) == both
            assert seen("127.0.0.1", 80) == both
            assert seen("10.1.0.2", 81, group) == both
            assert seen("127.0.0.1", 82, group) == ["handshake-ack", "syn"]  # on lo, answers to a client aren't
            assert seen("10.1.0.2", 84) == seen("10.1.0.1", 82) == []
            with server(83, group):  # known from the next look on
                while seen("127.0.0.1", 83) != both:
                    pass
        group.rmdir()
        assert next(line for line in said if f"control group {group} is gone" in line)
        group.mkdir()
        with server(80, group):
            assert next(line for line in said if f"control group {group} is there" in line)
            while seen("127.0.0.1", 80) != both:
                pass
        summary = shaper.stop()
    assert (summary["bypassed"], summary["rules_lost"], shaper.status) == (0, 0, 0)


def test_several_places_in_a_file(tmp_path: Path, runtime: Runtime) -> None:
    file = tmp_path / "shaping.toml"
    file.write_text(
        '[web]\ncontainer = "web"\nprotocol = "udp"\npolicy = "delay:50ms"\n'
        '[local]\nprotocol = "udp"\nport = 9\npolicy = "delay:20ms"\n'
    )
    command = [sys.executable, "-m", "shaper", "up", str(file)]
    with ExitStack() as opened:
        host = opened.enter_context(container(runtime))
        process = opened.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        opened.callback(process.kill)
        assert process.stdout is not None
        said = iter(process.stdout.readline, "")
        begun = [next(line for line in said if " | installed " in line) for _ in range(2)]
        assert sorted(line.partition(" ")[0] for line in begun) == ["local", "web"]
        assert 0.1 <= round_trip(host.pid) < 5
        Client("local").stop()
        assert next(line for line in said if line.startswith("local | taken"))
        family = family_of(process.pid)
        process.kill()
        # Whoever is left ends in order.
        while any(map(command_line, family)):
            time.sleep(0.01)
        with host.inside():
            rules = subprocess.run(["iptables-save", "-t", "mangle"], capture_output=True, text=True, check=True)
        assert "shaper" not in rules.stdout


CRICTL = """#!/bin/sh
case $1 in
    pods) cat '{folder}/pods.json' ;;
    inspectp) for last; do :; done; cat "{folder}/$last.json" ;;
esac
"""
LEAST = ("NET_ADMIN", "NET_RAW", "SYS_ADMIN", "SYS_PTRACE")
"""The capabilities of the agent in kubernetes/agent."""


class Node:
    """A node without Kubernetes: `crictl` on PATH.

    Args:
        folder: for the program and what it knows.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (folder / "crictl").write_text(CRICTL.format(folder=folder))
        (folder / "crictl").chmod(0o755)

    def runs(self, *pods: tuple[str, str, int]) -> None:
        """From now on these run: name, application, process; with process 0 a pod has the node's network."""
        items = []
        for name, application, pid in pods:
            options = {"network": "POD" if pid else "NODE"}
            sandbox = {"status": {"linux": {"namespaces": {"options": options}}}, "info": {"pid": pid or os.getpid()}}
            (self._folder / f"{name}.json").write_text(json.dumps(sandbox))
            metadata = {"name": name, "namespace": "prod"}
            items.append({"id": name, "metadata": metadata, "labels": {"app": application}})
        new = self._folder / "new"
        new.write_text(json.dumps({"items": items}))
        new.rename(self._folder / "pods.json")


def test_pods_are_found_by_their_labels_and_shaped_with_the_least_privileges(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    node, file = Node(tmp_path), tmp_path / "shaping.toml"
    file.write_text('[shop]\npod = "app=shop"\nnamespace = "prod"\nprotocol = "udp"\npolicy = "delay:50ms"\n')
    capabilities = ",".join(("-all", *(f"+{name.lower()}" for name in LEAST)))
    less = ["setpriv", f"--bounding-set={capabilities}", f"--inh-caps={capabilities}", "--no-new-privs"]
    command = [*less, sys.executable, "-m", "shaper", "up", "--verbose", str(file)]
    with Host("veth0", ["10.1.0.1/24"], ["10.1.0.2/24"]) as host:
        node.runs(("shop-1", "shop", host.pid), ("proxy", "shop", 0), ("db", "database", host.pid))
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert process.stdout is not None
        said: list[str] = []
        lines = iter(process.stdout.readline, "")

        def until(part: str) -> None:
            for line in lines:
                said.append(line)
                if part in line:
                    return
            raise AssertionError(said)

        until("shop.shop-1 | installed ")
        assert TRIP <= round_trip(host.pid) < 5
        shaped("set", "--name", "shop.shop-1", "delay:time=60ms")
        assert TRIP * 1.2 <= round_trip(host.pid) < 5
        # It is replaced by another pod.
        node.runs(("shop-2", "shop", host.pid))
        shaped("stop", "shop.shop-1")
        until("shop.shop-2 | installed ")
        assert TRIP <= round_trip(host.pid) < 5
        process.terminate()
        said += lines
        assert process.wait() == 0
        with host.inside():
            rules = subprocess.run(["iptables-save", "-t", "mangle"], capture_output=True, text=True, check=True)
        assert "shaper" not in rules.stdout
    assert f"shaper: reading {file}\n" in said
    # Its queue has another number if that of the first pod isn't closed yet.
    assert any(re.match(r"shop\.shop-2 \| shaper: queue \d+ is bound by process \d", line) for line in said)
    assert said.count("shop | pod proxy has the node's network, and is left alone\n") == 1
    assert not [line for line in said if "db" in line]
