"""Names of containers, units, processes, and what they lead to, by programs that only pretend."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shaper.cli.shaping import place_of
from shaper.cli.up import name_in
from shaper.errors import ShaperError, UsageError
from shaper.live.front.changes import Changes
from shaper.live.rules.rules import Match, Rules
from shaper.places import unit
from shaper.places.container import Container
from shaper.places.file import PlacesReader
from shaper.places.netns import NamedNamespace
from shaper.places.place import OWN, Found
from shaper.places.pods import Pod, Pods
from shaper.places.process import Process
from shaper.places.unit import Unit
from shaper.spec.scenario import Phase, Scenario
from shaper.units import s

Programs = Callable[..., None]
HERE = Found(Path(f"/proc/{os.getpid()}/ns/net"), OWN.stat().st_ino)
UNKNOWN = "exit 1"


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Programs:
    """Makes the only programs that there are: each is a line of shell."""
    # None of the machine's own is found, not even in /sbin.
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("shaper.linux.programs.os.environ", {"PATH": str(tmp_path)})
    monkeypatch.setattr("shaper.places.container.find", lambda name: (tmp_path / name).exists() or None)
    monkeypatch.setattr("shaper.places.unit.find", lambda name: (tmp_path / name).exists() or None)

    def make(**lines: str) -> None:
        for name, line in lines.items():
            (tmp_path / name).write_text(f"#!/bin/sh\n{line}\n")
            (tmp_path / name).chmod(0o755)

    return make


def says(answer: Any) -> str:
    return f"echo '{json.dumps(answer)}'"


def known(pid: int, *, running: bool = True, identity: str = "c0ffee" * 10) -> str:
    return says([{"Id": identity, "State": {"Running": running, "Pid": pid}}])


def test_the_program_that_knows_a_container_is_asked_again(programs: Programs) -> None:
    programs(docker="echo 'no daemon' >&2; exit 1", podman=known(os.getpid()), nerdctl=UNKNOWN)
    place = Container("web")
    assert place.find() == HERE
    programs(docker=known(1), podman=known(os.getpid()))
    assert place.find() == HERE


def test_a_container_that_does_not_run_is_nowhere(programs: Programs) -> None:
    programs(podman=known(os.getpid(), running=False))
    assert Container("web").find() is None
    programs(podman=known(99999999))
    assert Container("web").find() is None


def test_a_container_that_nobody_knows(programs: Programs) -> None:
    with pytest.raises(UsageError, match=r"no container 'web' \(none of docker, podman, nerdctl, crictl is installed"):
        Container("web").find()
    programs(docker="echo 'no daemon' >&2; exit 1", podman="echo no such container >&2; exit 125", nerdctl="echo {")
    expected = r"\(docker: no daemon; podman: no such container; nerdctl: an answer that isn't JSON\)$"
    with pytest.raises(UsageError, match=expected):
        Container("web").find()


def test_a_container_that_two_programs_know(programs: Programs) -> None:
    programs(docker=known(1), podman=known(2, identity="decaf" * 12))
    with pytest.raises(UsageError, match=r"2 containers 'web'; .*: c0ffeec0ffee \(docker\), decafdecafde \(podman\)"):
        Container("web").find()


def cri(*containers: tuple[str, str, bool]) -> str:
    """A crictl that knows these, by ID, name, whether they run; this process is in each of them."""
    listed = [
        {"id": identity, "metadata": {"name": name}, "state": f"CONTAINER_{'RUNNING' if runs else 'EXITED'}"}
        for identity, name, runs in containers
    ]
    return f'if [ "$1" = ps ]; then {says({"containers": listed})}; else {says({"info": {"pid": os.getpid()}})}; fi'


def test_a_container_of_kubernetes(programs: Programs) -> None:
    programs(crictl=cri(("a1b2", "web", False), ("a3b4", "web", True), ("ffff", "other", True)))
    assert Container("web").find() == HERE  # beside the one that it replaced
    assert Container("fff").find() == HERE
    assert Container("a1b").find() is None
    with pytest.raises(UsageError, match=r"no container 'db' \(crictl: no such container\)"):
        Container("db").find()
    programs(crictl=cri(("a1", "web", True), ("a2", "web", True)))
    with pytest.raises(UsageError, match="2 containers 'web'"):
        Container("web").find()


def test_units(programs: Programs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unit, "folder_of", lambda path: tmp_path / path.lstrip("/"))
    with pytest.raises(ShaperError, match="systemctl is not installed"):
        Unit("web").find()
    programs(systemctl="echo LoadState=not-found; echo ControlGroup=; echo MainPID=0")
    with pytest.raises(UsageError, match="no unit 'web'"):
        Unit("web").find()
    programs(systemctl="echo LoadState=loaded; echo ControlGroup=; echo MainPID=0")
    assert Unit("web").find() is None
    programs(systemctl=f"echo LoadState=loaded; echo ControlGroup=/web; echo MainPID={os.getpid()}")
    assert Unit("web").find() is None  # its group isn't there yet
    group = tmp_path / "web"
    group.mkdir()
    found = Unit("web").find()
    assert found == HERE._replace(cgroup=group, cgroup_inode=group.stat().st_ino)
    group.rename(tmp_path / "old")
    group.mkdir()
    assert found is not None
    assert not found.is_there()
    programs(systemctl="echo 'no bus' >&2; exit 1")
    with pytest.raises(ShaperError, match="systemctl: no bus"):
        Unit("web").find()


def test_processes_and_namespaces() -> None:
    with pytest.raises(UsageError, match="there is no process 99999999"):
        Process(99999999).find()
    with pytest.raises(UsageError, match="has no network namespace of its own; use --cgroup"):
        Process(os.getpid()).find()
    assert Process(os.getpid(), is_own_allowed=True).find() == HERE
    with pytest.raises(UsageError, match="'/etc/passwd' is not a network namespace"):
        NamedNamespace("/etc/passwd").find()
    with pytest.raises(UsageError, match="there is no network namespace 'no-such'"):
        NamedNamespace("no-such").find()


def test_one_place_is_named() -> None:
    assert place_of() is None
    with pytest.raises(UsageError, match="--netns and --container name several places; give one"):
        place_of(netns="web", container="web")


def test_changes_are_repeated_in_few_steps() -> None:
    changes = Changes()
    assert (list(changes), changes.specs) == ([], ())
    for change in (
        {"what": "change", "stage": "loss", "options": {"probability": "1%"}},
        {"what": "replace", "specs": ["delay:20ms"]},
        {"what": "change", "stage": "delay", "options": {"time": "50ms", "jitter": "1ms"}},
        {"what": "pause"},
        {"what": "resume"},
        {"what": "release"},
        {"what": "change", "stage": "delay", "options": {"time": "60ms"}},
    ):
        changes.add(change)
    assert list(changes) == [
        {"what": "replace", "specs": ["delay:20ms"]},
        {"what": "change", "stage": "delay", "options": {"time": "60ms", "jitter": "1ms"}},
    ]
    assert changes.specs == ("delay:20ms",)
    changes.add({"what": "pause"})
    assert list(changes)[-1] == {"what": "pause"}


def test_a_scenario_that_has_gone_on_for_some_time() -> None:
    scenario = Scenario((Phase(("delay:1ms",), 10), Phase(("delay:2ms",), 20), Phase(("delay:3ms",), 0)))
    assert [following.after for following in scenario.then(s)] == [10, 30]
    assert [following.after for following in scenario.then(s, 15)] == [-5, 15]


def test_the_rules_of_a_control_group() -> None:
    match = Match(("any",), ports=(80,), cgroup=r'/a "b"\x2d', served=(("tcp", 80), ("udp", 53)))
    text, _, _ = Rules(match, 5).text()["ipv4"].partition("-out - [0:0]\n")  # those for what goes out are alike
    group, mark = r'-m cgroup --path "/a \"b\"\\x2d"', "-m mark --mark 0x8000000/0x8000000"
    assert f"-o lo {group} -j MARK --set-xmark 0x8000000/0x8000000\n" in text
    assert [found[1] for found in re.finditer(r"-A \S+ (-p .*--[ds]port .*) -m comment", text)] == [
        *(
            f"-p {kind} -m {kind} {side} 80 {whose}"
            for kind in ("tcp", "udp")
            for side in ("--dport", "--sport")
            for whose in (group, mark)
        ),
        "-p tcp -m tcp --dport 80",
        "-p tcp -m tcp --sport 80",
    ]


def test_pods_with_labels(programs: Programs) -> None:
    def pod(name: str, namespace: str, **labels: str) -> dict[str, Any]:
        return {"id": f"id-{name}", "metadata": {"name": name, "namespace": namespace}, "labels": labels}

    items = [
        pod("a", "prod", app="shop", tier="web"),
        pod("b", "test", app="shop", tier="web"),
        pod("c", "prod", app="shop"),
        {**pod("d", "prod"), "labels": None},
    ]
    sandbox = {"status": {}, "info": {"pid": 17}}
    programs(crictl=f'if [ "$1" = pods ]; then {says({"items": items})}; else {says(sandbox)}; fi')
    assert Pods("app=shop, tier=web", "prod").find() == [Pod("id-a", "prod", "a", 17)]
    pods = Pods("app=shop")
    assert [pod.name for pod in pods.find()] == ["a", "b", "c"]
    # A sandbox stays what it is, and isn't looked at again.
    programs(crictl=f'[ "$1" = pods ] && {says({"items": items[:2]})}')
    assert [pod.pid for pod in pods.find()] == [17, 17]
    programs(crictl="echo 'connection refused' >&2; exit 1")
    with pytest.raises(ShaperError, match="connection refused"):
        pods.find()
    for wrong in ("", "shop", "app=shop,", "=x"):
        with pytest.raises(UsageError, match="are no labels, such as app=shop,tier=web"):
            Pods(wrong)


def test_pods_in_a_file() -> None:
    (shop,) = PlacesReader('[shop]\npod = "app=shop"\nnamespace = "prod"\npolicy = "delay"\n', "f").places()
    assert (shop.name, shop.options) == ("shop", ["--policy=delay"])
    assert shop.pods is not None
    assert (shop.pods.labels, shop.pods.namespace) == ({"app": "shop"}, "prod")


def test_the_name_of_a_pod_is_made_short() -> None:
    assert name_in("shop", "shop-6d9f-x2x7k") == "shop.shop-6d9f-x2x7k"
    long = name_in("shop", f"{'very-' * 20}long-6d9f-x2x7k")
    assert len(long) <= 64
    assert long.startswith("shop.")
    assert long.endswith("-long-6d9f-x2x7k")


FILE = """
seed = 7
max-hold = "1min"

[web-1]
container = "web"
policy = "delay:20ms"
port = [80, "https"]
gso = true
yes = false

[db]
pid = 17
profile = "lte"
seed = "other"
workers = "auto"
"""


def test_a_file_with_several_places() -> None:
    web, db = PlacesReader(FILE, "f").places()
    common = "--max-hold=1min"
    assert web.name == "web-1"
    assert web.options == shlex.split(
        f"--name web-1 --seed=7 {common} --container=web --policy=delay:20ms --port=80 --port=https --gso"
    )
    assert db.options == shlex.split(f"--name db --seed=other {common} --pid=17 --profile=lte --workers=auto")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "seed = 7",
            "sede = 7",
            "f:2: the part before the first table has no 'sede' (did you mean 'seed'?)",
        ),
        ("port =", "ports =", "f:8: [web-1] has no 'ports' (did you mean 'port'?); it has container,"),
        ("pid = 17", "pid = 17\nunit = 'x'", "f:14: pid and unit name several places; give one"),
        ("pid = 17", "pid = '17'", "f:13: pid is a whole number"),
        ('"auto"', "'all'", "f:16: workers: 'all' is neither a number nor auto"),
        ('"auto"', "true", 'f:16: workers is a whole number or "auto"'),
        ('"https"', '"nonsense"', "f:8: port: 'nonsense' is not a port"),
        ("delay:20ms", "dealy:20ms", "f:7: policy: there is no policy 'dealy'"),
        ('"lte"', '"let"', "f:14: profile: there is no profile 'let'"),
        ("gso = true", "gso = 1", "f:9: gso is true or false"),
        ("1min", "1mi", "f:3: max-hold: '1mi' needs a unit of time"),
        ('profile = "lte"', "", "f:12: [db] has no policy and no profile"),
        (FILE, "", "f:1: there is no table, such as [web]"),
        ('container = "web"', 'host = "nowhere"', "f:6: host: 'nowhere' is not an IP address or network"),
        ('container = "web"', 'pod = "shop"', "f:6: pod: 'shop' are no labels, such as app=shop,tier=web"),
        ('container = "web"', 'pod = "a=b"\njournal = "j"', "f:7: journal is for one; there may be several pods"),
        ('container = "web"', 'namespace = "prod"', "f:6: namespace is that of pods; give pod, too"),
        ('container = "web"', 'protocol = "sctp"', "f:6: protocol: 'sctp' is none of tcp, udp, icmp, all"),
    ],
)
def test_what_is_wrong_in_a_file_is_found(old: str, new: str, message: str) -> None:
    with pytest.raises(UsageError, match=f"^{re.escape(message)}"):
        PlacesReader(FILE.replace(old, new), "f").places()
