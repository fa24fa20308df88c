"""Many trials leave nothing behind: no process, namespace, descriptor, file, or memory."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.usefixtures("namespaces")

PRIVATE = 'mount -t proc none /proc && mount -t tmpfs none /run && mount -t tmpfs none /dev/shm && exec "$@"'
"""In a mount and a PID namespace: what is in /proc, /run and /dev/shm then belongs to this test alone."""
GROWTH = 2048
"""kB that the process of a lab may grow by after its first trials; one trial's journal alone has some."""

# Trials of all kinds, each with something that it leaves to others to clear up.
TRIALS = """
import json, os, sys
from pathlib import Path
from shaper.experiment import Trial, execute
from shaper.linux import proc
from shaper.units import ms

LEAVES = "sleep 1000 & (setsid sleep 1000 &); touch $TMPDIR/$$; rm $TMPDIR/$$; ping -U -q -c 1 127.0.0.1"
KINDS = (
    dict(command=("sh", "-c", LEAVES), policies=("delay:1ms",)),
    dict(command=("sleep", "1000"), timeout=20 * ms),
    dict(workload="netcat", policies=("delay:1ms",)),
    dict(command=("sh", "-c", "echo hello | nc -N 127.0.0.1 4000"), server=("nc", "-l", "127.0.0.1", "4000")),
    dict(command=("ping", "-U", "-q", "-c", "1", "-W", "0.02", "127.0.0.1"), policies=("delay:9s",)),
)
STATUSES = (0, None, 0, 0, 1)

def trials(count):
    for number in range(count):
        yield Trial(number=number, **KINDS[number % len(KINDS)])

def look():
    labs = proc.children(os.getpid())
    return {
        "memory": max(int(proc.status("VmRSS", lab).split()[0]) for lab in labs),
        "own_memory": int(proc.status("VmRSS").split()[0]),
        "descriptors": [len(os.listdir(f"/proc/{lab}/fd")) for lab in labs],
        "own_descriptors": len(os.listdir("/proc/self/fd")),
    }

def files():
    folders = "/run", "/dev/shm", os.environ["TMPDIR"]
    return [str(path) for folder in folders for path in Path(folder).rglob("*")]

def mounts():
    return [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if " nsfs " in line]

count = int(sys.argv[1])
descriptors, named, known = sorted(os.listdir("/proc/self/fd")), mounts(), files()
first = last = None
for done, (trial, outcome) in enumerate(execute(trials(count), at_once=2), 1):
    assert outcome.status == STATUSES[trial.number % len(KINDS)], (trial, outcome)
    if done == count // 10:
        first = look()
    if done == count:
        last = look()
    print(done, flush=True)
# A namespace lives as long as a process, a descriptor or a mount has it.
print(json.dumps({
    "first": first,
    "last": last,
    "processes": [int(name) for name in os.listdir("/proc") if name.isdecimal()],
    "descriptors": sorted(os.listdir("/proc/self/fd")) == descriptors,
    "mounts": mounts() == named,
    "files": files() == known,
}))
"""


def test_trials_leave_nothing_behind(
    tmp_path: Path,
    count: Callable[[int], int],
    progress: Callable[[int, int], None],
    figure: Callable[[str, str], None],
) -> None:
    """Of 50 trials, two at a time; with --full, of 1,000."""
    trials = max(50, count(1000))
    for name in ("temporary", "folder"):
        (tmp_path / name).mkdir()
    environment = {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "TMPDIR": str(tmp_path / "temporary"),
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    inside = [sys.executable, "-c", TRIALS, str(trials)]
    command = ["unshare", "--mount", "--pid", "--fork", "sh", "-c", PRIVATE, "sh", *inside]
    last = ""
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=environment, cwd=tmp_path / "folder"
    ) as process:
        assert process.stdout is not None
        for last in process.stdout:
            if last.strip().isdecimal():
                progress(int(last), trials)
    assert process.returncode == 0
    found = json.loads(last)
    assert found["processes"] == [1]
    assert found["descriptors"]
    assert found["mounts"]
    assert found["files"]
    assert list((tmp_path / "folder").iterdir()) == []
    before, after = found["first"], found["last"]
    # At first, one of the two labs ran a trial; at the end, none does.
    assert set(after["descriptors"]) == {min(before["descriptors"])}
    assert after["own_descriptors"] == before["own_descriptors"]
    assert after["memory"] - before["memory"] < GROWTH
    assert after["own_memory"] - before["own_memory"] < GROWTH
    figure(
        f"{trials:,} trials of an experiment, 2 at once",
        f"no process, namespace, descriptor or file left; a lab has {before['memory']:,} kB after {trials // 10:,} "
        f"trials, {after['memory']:,} kB at the end",
    )
