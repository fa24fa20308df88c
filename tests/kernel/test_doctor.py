"""`shaper doctor`: what is there, what is missing, and that it changes nothing."""

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from shaper.cli import main
from shaper.doctor import requirements, trial
from shaper.linux import proc

pytestmark = pytest.mark.usefixtures("backend")

Capture = pytest.CaptureFixture[str]
NEEDED_HERE = {"Python", "iptables", "ip6tables", "kernel queue", "CAP_NET_ADMIN", "CAP_NET_RAW"}


def by_name(document: str) -> dict[str, dict[str, Any]]:
    return {each["name"]: each for each in json.loads(document)["requirements"]}


def test_what_these_tests_need_is_there(backend: str, capsys: Capture) -> None:
    assert main(["doctor", "--json"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    found = by_name(out)
    assert {name for name, each in found.items() if each["needed_by"] == "start"} == NEEDED_HERE
    assert {found[name]["status"] for name in NEEDED_HERE} == {"ok"}
    assert {"nft": "nf_tables", "legacy": "legacy"}[backend] in found["iptables"]["found"]
    assert found["xt_bpf"]["found"] == "works"
    for each in found.values():
        assert (each["status"] == "ok") == (each["mend"] == "")
    for hint in json.loads(out)["lateness"]:
        assert set(hint) == {"name", "found", "effect", "mend"}
        assert all(hint.values())


def test_nothing_is_changed(rule_set: Callable[[], list[str]]) -> None:
    before = rule_set()
    main(["doctor"])
    assert rule_set() == before


def test_lines_fit_a_terminal(capsys: Capture) -> None:
    main(["doctor"])
    table = capsys.readouterr().out.split("\n\n")[0]
    assert max(map(len, table.splitlines())) <= 80


def test_the_status_is_a_word(capsys: Capture) -> None:
    main(["doctor"])
    assert {line[18:].split()[1] for line in capsys.readouterr().out.splitlines() if line.startswith("iptables ")} == {
        "ok"
    }


def test_an_ordinary_user(ordinary: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    done = ordinary(sys.executable, "-m", "shaper", "doctor", "--json")
    assert done.returncode == 1, done.stderr
    found = by_name(done.stdout)
    assert found["CAP_NET_ADMIN"]["status"] == "missing"
    assert "run as root" in found["CAP_NET_ADMIN"]["mend"]
    assert found["user namespaces"]["status"] == found["kernel queue"]["status"] == "ok"


@pytest.mark.parametrize("missing", ["net_admin", "net_raw"])
def test_root_in_a_container_reads_which_capability_it_lacks(missing: str, network: None) -> None:
    less = ["setpriv", f"--bounding-set=-{missing}", f"--inh-caps=-{missing}"]
    done = subprocess.run([*less, sys.executable, "-m", "shaper", "doctor", "--json"], capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    name = f"CAP_{missing.upper()}"
    assert by_name(done.stdout)[name]["mend"] == (
        f"root lacks {name} here: start the container with `--cap-add {missing.upper()}` (docker, podman); "
        "`shaper run` needs neither"
    )


def test_tracing_is_there_if_trace_can_do_it(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    strace = "/usr/bin/strace"
    monkeypatch.setattr(proc, "in_pid_namespace", lambda: False)
    for why, program, status, found in (
        (None, None, "ok", "tracefs works"),
        ("no tracefs", strace, "ok", "strace, which can't show what woke each call; no tracefs"),
        ("no tracefs", None, "missing", "no tracefs"),
    ):
        monkeypatch.setattr(requirements, "obstacle", lambda why=why: why)
        monkeypatch.setattr(requirements, "find", lambda name, program=program: program)
        main(["doctor", "--json"])
        tracing = by_name(capsys.readouterr().out)["tracefs or strace"]
        assert (tracing["status"], tracing["found"]) == (status, found)
        assert tracing["mend"] == ("" if status == "ok" else "sudo apt install strace")
    monkeypatch.setattr(requirements, "obstacle", lambda: None)
    monkeypatch.setattr(proc, "in_pid_namespace", lambda: True)
    main(["doctor", "--json"])
    assert by_name(capsys.readouterr().out)["tracefs or strace"]["found"] == "tracefs works, also in this PID namespace"


def test_tracefs_need_not_be_mounted(network: None) -> None:
    hidden = 'umount -l /sys/kernel/tracing /sys/kernel/debug 2>/dev/null; exec "$@"'
    command = ["unshare", "-m", "sh", "-c", hidden, "sh", sys.executable, "-m", "shaper", "doctor", "--json"]
    usual = subprocess.run(command[6:], capture_output=True, text=True)
    done = subprocess.run(command, capture_output=True, text=True)
    assert by_name(done.stdout)["tracefs or strace"] == by_name(usual.stdout)["tracefs or strace"]


def test_missing_programs(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setattr(requirements, "find", lambda name: None)
    monkeypatch.setattr(trial, "find", lambda name: None)
    assert main(["doctor", "--json"]) == 1
    found = by_name(capsys.readouterr().out)
    assert (found["iptables"]["status"], found["iptables"]["mend"]) == ("missing", "sudo apt install iptables")
    assert found["tcpdump"]["mend"] == "sudo apt install tcpdump"
    assert found["pasta"]["mend"] == "sudo apt install passt"
    for name, program in (("kernel queue", "iptables"), ("xt_bpf", "iptables"), ("netem", "tc")):
        assert (found[name]["status"], found[name]["found"]) == ("unknown", f"can't be tried without {program}")
        assert found[name]["mend"] == f"install {program}, then run `shaper doctor` again"


def test_no_kernel_support(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    outcomes = {"namespace": "", "queue": "this kernel has no NFQUEUE", "bpf": "", "netem": ""}
    monkeypatch.setattr(trial, "kernel", lambda: outcomes)
    assert main(["doctor"]) == 1
    report = capsys.readouterr().out
    assert "kernel queue" in report
    assert "missing" in report
    assert "sudo modprobe -a nfnetlink_queue" in report
