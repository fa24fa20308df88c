"""Sweeps on a Dask cluster of three workers, here: the same rows, whatever happens to the workers."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from threading import Thread

import pyarrow.parquet
import pytest

from shaper.cli import main
from shaper.errors import ShaperError
from shaper.experiment import Trial, execute_on_dask
from shaper.linux import proc
from tests.house.test_docs import ROOT, blocks

pytestmark = pytest.mark.usefixtures("namespaces")

WORKERS = 3
WITHIN = 120
"""Seconds for a process to start, or to end."""
TIMES = ("started", "wanted_ms", "actual_ms", "late_ms", "flags")
"""Columns that differ between two runs of the same trial."""
WITHOUT_USER_NAMESPACES = [
    "unshare",
    "--user",
    "--map-root-user",
    "sh",
    "-c",
    'echo 0 > /proc/sys/user/max_user_namespaces; exec setpriv --bounding-set=-sys_admin "$@"',
    "sh",
]
KILLS_ITS_WORKER = """
parent() { sed -n 's/^PPid:.//p' /proc/$1/status; }
kill -9 $(parent $(parent $PPID))
sleep 10
"""


class Cluster:
    """A scheduler and its workers on loopback; they end by themselves if nobody ends them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        about = folder / "scheduler.json"
        limit = ["--idle-timeout", "5m", "--scheduler-file", str(about)]
        self.scheduler = self._start([], "scheduler", *limit, "--port", "0", "--no-dashboard")
        wait_until(lambda: about.exists() and about.stat().st_size > 0)
        self.address = json.loads(about.read_text())["address"]
        self.workers: list[subprocess.Popen[bytes]] = []

    def add(self, *, prefix: list[str] | None = None, path: Path | None = None) -> subprocess.Popen[bytes]:
        """Start a worker, and wait until it takes tasks."""
        log = self.folder / f"{time.monotonic_ns()}.log"
        limit = ["--nthreads", "1", "--no-nanny", "--death-timeout", "20", "--local-directory", str(self.folder)]
        worker = self._start(prefix or [], "worker", self.address, *limit, "--no-dashboard", path=path, log=log)
        wait_until(lambda: b"Registered to" in log.read_bytes())
        return worker

    def fill(self) -> None:
        """Start workers where some are missing."""
        self.workers = [worker for worker in self.workers if worker.poll() is None]
        self.workers += [self.add() for _ in range(WORKERS - len(self.workers))]

    def close(self) -> None:
        for process in (*self.workers, self.scheduler):
            process.kill()
            process.wait()

    def _start(
        self, prefix: list[str], what: str, *options: str, path: Path | None = None, log: Path | None = None
    ) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "dask", what, *options, "--host", "127.0.0.1"]
        environment = {**os.environ, "PYTHONPATH": str(path or "")}
        with (log or self.folder / f"{what}.log").open("wb") as output:
            return subprocess.Popen(
                [*prefix, *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment,
                cwd=self.folder,  # else the checkout would come before PYTHONPATH
            )


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    made = Cluster(tmp_path_factory.mktemp("cluster"))
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def cluster(started: Cluster) -> Cluster:
    started.fill()
    return started


def wait_until(fulfilled: Callable[[], bool]) -> None:
    end = time.monotonic() + WITHIN
    while not fulfilled():
        assert time.monotonic() < end
        time.sleep(0.02)


def is_running(pid: int) -> bool:
    with suppress(OSError):
        return not proc.stat(pid).has_ended
    return False


def rows(file: Path) -> Counter[str]:
    """The rows of a file of results, but for what differs between two runs of the same trial."""
    found = Counter[str]()
    for row in pyarrow.parquet.read_table(file).to_pylist():
        if row["unit"] == "ms":
            row.pop("value")
        found[json.dumps({name: value for name, value in row.items() if name not in TIMES})] += 1
    return found


def test_the_same_sweep_here_and_on_a_cluster_that_loses_a_worker(
    cluster: Cluster, tmp_path: Path, count: Callable[[int], int], figure: Callable[[str, str], None]
) -> None:
    repeat = max(2, count(10))
    trials = 6 * repeat
    log = tmp_path / "log"
    command = ["--", "sh", "-c", f"echo >> {log}; ping -U -q -c 5 -i 0.02 -W 0.1 127.0.0.1; true"]
    options = ["--vary", "delay:time=0..20ms/3", "--vary", "loss:probability=0,20%", f"--repeat={repeat}"]
    options += ["--measure", r"(?P<received>\d+) received"]
    here, there = tmp_path / "here.parquet", tmp_path / "there.parquet"
    assert main(["sweep", *options, "-o", str(here), *command]) == 0
    log.unlink()
    victim = cluster.workers[1]
    labs = list[int]()

    def kill() -> None:
        wait_until(lambda: log.exists() and log.stat().st_size >= trials // 3)
        labs.extend(proc.children(victim.pid))
        victim.kill()

    killer = Thread(target=kill)
    killer.start()
    assert main(["sweep", *options, "-o", str(there), "--dask", cluster.address, *command]) == 0
    killer.join()
    assert victim.wait(0) == -signal.SIGKILL
    # What the lost worker ran was run again.
    assert log.stat().st_size in (trials, trials + 1)
    assert rows(there) == rows(here)
    assert {*rows(here).values()} == {1}
    assert len({json.loads(row)["key"] for row in rows(there)}) == trials
    assert labs
    wait_until(lambda: not any(map(is_running, labs)))
    figure(
        f"the same sweep of {trials} trials here and on a cluster of {WORKERS} workers, of which one is killed",
        "the same rows; none missing, none twice",
    )


def test_ctrl_c_keeps_what_is_done_and_ends_what_runs(cluster: Cluster, tmp_path: Path) -> None:
    log, asleep = tmp_path / "log", tmp_path / "asleep"
    line = f"echo $$ >> {log}; [ $(wc -l < {log}) -le 4 ] || {{ echo >> {asleep}; exec sleep 1000; }}"
    options = ["--vary", "delay:time=0,1ms", "--repeat", "20", "--dask", cluster.address, "--timeout", "60min"]
    command = [sys.executable, "-m", "shaper", "sweep", *options, "-o", f"{tmp_path}/a.parquet", "--", "sh", "-c", line]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            wait_until(lambda: asleep.exists() and asleep.read_text().count("\n") == WORKERS)
            process.send_signal(signal.SIGINT)
            out, _ = process.communicate(timeout=WITHIN)
        except BaseException:
            process.kill()
            raise
    assert process.returncode == 130
    # Those that began at the same time may each have seen the other's line.
    done = log.read_text().count("\n") - WORKERS
    assert 1 < done <= 4
    assert f"interrupted: {done} of 40 trials are done" in out
    wait_until(lambda: not any(is_running(int(pid)) for pid in log.read_text().split()))
    wait_until(lambda: not any(proc.children(worker.pid) for worker in cluster.workers))


def test_a_plan_is_asked_for_the_next_trial_only_when_a_worker_is_free(cluster: Cluster) -> None:
    asked = 0

    def plan() -> Iterator[Trial]:
        nonlocal asked
        for number in range(7):
            asked += 1
            yield Trial(("true",), number=number)

    for ended, (_, outcome) in enumerate(execute_on_dask(plan(), cluster.address)):
        assert outcome.status == 0
        assert asked <= ended + WORKERS
    assert asked == 7


def test_what_a_plan_raises_comes_out(cluster: Cluster) -> None:
    def plan() -> Iterator[Trial]:
        yield Trial(("true",))
        raise FileNotFoundError("the plan's own")

    with pytest.raises(FileNotFoundError, match="the plan's own"):
        list(execute_on_dask(plan(), cluster.address))


def test_a_causal_profile(cluster: Cluster, tmp_path: Path) -> None:
    file = tmp_path / "causal.json"
    options = ["--workload", "request:rounds=1", "--budget", "1s", "--dask", cluster.address, f"--json={file}"]
    assert main(["causal", *options]) == 0
    found = json.loads(file.read_text())
    assert {"tcp/8765 original syn", "tcp/8765 reply data"} <= set(found["classes"])
    assert found["trials"] > len(found["classes"])


def test_dask_is_loaded_only_when_it_is_used() -> None:
    script = "import sys, shaper.experiment; assert not {'dask', 'distributed'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", script], check=True)


def test_without_dask(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert main(["sweep", "--vary", "delay:time=0,1ms", "--dask", "tcp://127.0.0.1:9", "--", "true"]) == 2
    assert capsys.readouterr().err == "shaper: a cluster needs Dask: pip install 'nfq-shaper[cluster]'\n"


def test_the_sweep_of_the_document(cluster: Cluster, tmp_path: Path) -> None:
    """The same file runs here in tests/house/test_docs.py."""
    [script] = [block.text for block in blocks(ROOT / "docs" / "experiments.md") if block.mark == "sweep.py"]
    (tmp_path / "sweep.py").write_text(script)
    done = subprocess.run(
        [sys.executable, "sweep.py", cluster.address], cwd=tmp_path, capture_output=True, text=True, timeout=WITHIN
    )
    assert (done.stdout, done.stderr) == ("duration: 2 ms per ms of delay\n", "")


def other_version(folder: Path) -> str:
    info = folder / "nfq_shaper-0.0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: nfq-shaper\nVersion: 0.0.1\n")
    return "it has shaper 0.0.1, and this is 0.1.0; there, run pip install 'nfq-shaper==0.1.0'"


def no_user_namespaces(folder: Path) -> str:
    return "user namespaces are switched off here; switch them on with `sudo sysctl user.max_user_namespaces=10000`"


@pytest.mark.parametrize("lacks", [other_version, no_user_namespaces])
def test_a_worker_that_can_run_no_trials(
    lacks: Callable[[Path], str], cluster: Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    why = lacks(tmp_path)
    prefix = WITHOUT_USER_NAMESPACES if lacks is no_user_namespaces else None
    worker = cluster.add(prefix=prefix, path=tmp_path)
    try:
        assert main(["sweep", "--vary", "delay:time=0,1ms", "--dask", cluster.address, "--", "true"]) == 1
    finally:
        worker.kill()
        worker.wait()
    said = capsys.readouterr().err
    assert said.startswith("shaper: the worker tcp://127.0.0.1:")
    assert f" can't run trials: {why}" in said
    assert said.count("\n") == 1


def test_a_trial_that_ends_its_workers_is_not_run_for_ever(cluster: Cluster) -> None:
    trials = iter([Trial(("sh", "-c", KILLS_ITS_WORKER))])
    with pytest.raises(ShaperError, match=f"{WORKERS} workers were lost while they ran sh -c"):
        list(execute_on_dask(trials, cluster.address))


def test_a_cluster_without_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("shaper.experiment.cluster.CONNECT", 2)
    cluster = Cluster(tmp_path)
    try:
        assert main(["sweep", "--vary", "delay:time=0,1ms", "--dask", cluster.address, "--", "true"]) == 1
    finally:
        cluster.close()
    said = capsys.readouterr().err
    assert said == f"shaper: the cluster has no workers; start one: dask worker {cluster.address}\n"


@pytest.mark.parametrize(
    ("address", "status", "message"),
    [
        ("tcp://127.0.0.1:9", 1, "no scheduler answers at tcp://127.0.0.1:9; start one: dask scheduler"),
        ("nonsense", 2, "'nonsense' is no address of a scheduler"),
        ("ftp://127.0.0.1:21", 2, "unknown address scheme 'ftp'"),
    ],
)
def test_addresses_without_a_scheduler(
    address: str, status: int, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("shaper.experiment.cluster.CONNECT", 1)
    assert main(["sweep", "--vary", "delay:time=0,1ms", "--dask", address, "--", "true"]) == status
    assert message in capsys.readouterr().err
