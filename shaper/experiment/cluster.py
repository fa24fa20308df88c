"""Executor on a Dask cluster: the trials run on its workers, each in a private network there."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from importlib import metadata
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, NamedTuple
from uuid import uuid4

from shaper.errors import ShaperError, UsageError
from shaper.experiment import worker
from shaper.experiment.trial import Outcome, Trial

if TYPE_CHECKING:
    from distributed import Client, Future

PACKAGE = "nfq-shaper"
CONNECT = 10
"""Seconds for the scheduler to answer."""
LOOK = 1.0
"""Seconds between two looks which workers there are."""
FETCH = 5
"""Seconds for an outcome to come from its worker, before a look whether the worker is lost."""
JOIN = 30.0
"""Seconds for a worker to join when there is none; a nanny takes some to replace one."""
MOST_LOST = 3
"""A trial whose workers were lost so often isn't run again: it may be what ends them."""


def execute_on_dask(
    plan: Iterator[Trial], address: str, *, at_once: int = 1, mtu: int = 1500
) -> Iterator[tuple[Trial, Outcome]]:
    """Run the trials of a plan on a Dask cluster, and give each with its outcome, in the order in which they end.

    As `execute`, it asks the plan for the next trial only when a worker is free. All workers are checked first. Workers
    that join later are used if they pass the same check. When a worker is lost, its trials are run again on others.
    Commands and files of policies must be on the workers, too. When this ends, so do the trials that still run there.

    Args:
        address: of the scheduler, such as "tcp://10.0.0.1:8786".
        at_once: how many trials a worker runs at the same time, but not more than it has threads.
        mtu: of lo, in bytes.

    Raises:
        UsageError: Dask is not installed, or the address can't be read.
        ShaperError: no scheduler answers; a worker can't run trials; there are no workers; see `Lab.run`, too.
    """
    client = _connect(address)
    workers = Workers(client, at_once, mtu)
    running: dict[str, Running] = {}
    ended: SimpleQueue[str] = SimpleQueue()
    again: list[Trial] = []
    lost: Counter[str] = Counter()
    try:
        workers.check_all(address)
        while True:
            while (free := workers.free()) is not None:
                if (trial := again.pop() if again else next(plan, None)) is None:
                    break
                future = workers.start(trial, free)
                running[future.key] = Running(trial, free, future)
                future.add_done_callback(lambda future: ended.put(future.key))
            if not running and workers.slots:
                return
            for where in workers.look():
                for key in [key for key, each in running.items() if each.worker == where]:
                    trial = running.pop(key).trial
                    lost[trial.key] += 1
                    if lost[trial.key] == MOST_LOST:
                        raise ShaperError(f"{MOST_LOST} workers were lost while they ran {_words(trial)}")
                    again.append(trial)
            try:
                key = ended.get(timeout=workers.until_look())
            except Empty:
                continue
            if key not in running:
                continue
            outcome = running[key].outcome()
            if outcome is None:
                workers.look_now()
                ended.put(key)
                continue
            workers.load[running[key].worker] -= 1
            yield running.pop(key).trial, outcome
    finally:
        workers.close([each.future for each in running.values()])
        client.close()


@contextmanager
def connected() -> Iterator[None]:
    """What is done here needs the scheduler.

    Raises:
        ShaperError: it is lost.
    """
    try:
        yield
    except (OSError, CancelledError) as error:
        raise ShaperError("the connection to the scheduler was lost") from error


class Running(NamedTuple):
    """A trial that a worker runs, by the worker's address; the future is Dask's."""

    trial: Trial
    worker: str
    future: Future

    @connected()
    def outcome(self) -> Outcome | None:
        """What has come of it, now that it has ended; None if the worker seems to be lost, with the outcome.

        Raises:
            ShaperError: see `Lab.run`.
        """
        from distributed import KilledWorker

        try:
            answer: Outcome | ShaperError = self.future.result(timeout=FETCH)
        except (TimeoutError, KilledWorker):
            return None
        if isinstance(answer, ShaperError):
            raise type(answer)(f"{answer} (on the worker {self.worker})")
        return answer


class Workers:
    """The workers of a cluster that are fit to run trials, and how many each of them runs.

    Attributes:
        plan: names this plan among all that the workers run.
        slots: how many trials each of the workers can run at once, by its address.
        load: how many it runs.
    """

    def __init__(self, client: Client, at_once: int, mtu: int) -> None:
        self.plan = uuid4().hex
        self.slots: dict[str, int] = {}
        self.load: Counter[str] = Counter()
        self._client = client
        self._at_once = at_once
        self._mtu = mtu
        self._checked: set[str] = set()
        self._unfit: dict[str, str] = {}
        self._looked = self._last_seen = time.monotonic()

    @connected()
    def check_all(self, scheduler: str) -> None:
        """Check all workers that there are; wait for one to join if there is none.

        Raises:
            ShaperError: one of them can't run trials; there are none.
        """
        while not (there := self._there()):
            if time.monotonic() - self._last_seen > CONNECT:
                raise ShaperError(f"the cluster has no workers; start one: dask worker {scheduler}")
            time.sleep(LOOK / 10)
        self._check(there)
        for address, why in self._unfit.items():
            raise ShaperError(f"the worker {address} can't run trials: {why}")

    def free(self) -> str | None:
        """The address of a worker that can run another trial: the one that runs the fewest; None if there is none."""
        able = [address for address, slots in self.slots.items() if self.load[address] < slots]
        return min(able, key=self.load.__getitem__, default=None)

    @connected()
    def start(self, trial: Trial, address: str) -> Future:
        """Run a trial on this worker.

        Raises:
            ShaperError: the connection to the scheduler was lost.
        """
        self.load[address] += 1
        # A name for each try: what a worker that was believed lost still sends belongs to none.
        key = f"trial-{trial.key}-{uuid4().hex}"
        return self._client.submit(worker.play, self.plan, self._mtu, trial, key=key, workers=[address])

    def look_now(self) -> None:
        """Make it time to look."""
        self._looked -= LOOK

    def until_look(self) -> float:
        """Seconds until it is time to look again."""
        return max(0.0, self._looked + LOOK - time.monotonic())

    @connected()
    def look(self) -> list[str]:
        """Take in the workers that have joined, and give back those that are lost, if it is time to look.

        Raises:
            ShaperError: there have been no workers for a while.
        """
        if self.until_look():
            return []
        there = self._there()
        lost = [address for address in self.slots if address not in there]
        for address in lost:
            del self.slots[address], self.load[address]
        self._check({address: threads for address, threads in there.items() if address not in self.slots})
        self._looked = time.monotonic()
        if self.slots:
            self._last_seen = self._looked
        elif self._looked - self._last_seen > JOIN:
            why = next((f"; {address} can't run trials: {why}" for address, why in self._unfit.items()), "")
            raise ShaperError(f"all workers of the cluster are lost{why}")
        return lost

    def close(self, running: list[Future]) -> None:
        """End what runs on the workers, and their labs."""
        with suppress(OSError, CancelledError):
            self._client.cancel(running)
            there = [address for address in self._there() if address in self._checked]
            self._client.run(worker.close, self.plan, workers=there, on_error="ignore")

    def _there(self) -> dict[str, int]:
        """All workers by their addresses, each with how many threads it has."""
        workers = self._client.scheduler_info(n_workers=-1)["workers"]
        return {address: about["nthreads"] for address, about in workers.items()}

    def _check(self, there: dict[str, int]) -> None:
        """Check these workers, unless that was done before."""
        new = [address for address in there if address not in self._unfit]
        if not new:
            return
        own = metadata.version(PACKAGE)
        # Nothing of shaper is asked for before it is known to be there.
        versions = self._client.run(metadata.version, PACKAGE, workers=new, on_error="return")
        for address, found in versions.items():
            if found != own and not isinstance(found, OSError):
                what = f"it has shaper {found}" if isinstance(found, str) else "it has no shaper"
                self._unfit[address] = f"{what}, and this is {own}; there, run pip install '{PACKAGE}=={own}'"
        same = [address for address, found in versions.items() if found == own]
        self._checked.update(same)
        obstacles = self._client.run(worker.obstacle, self.plan, self._mtu, workers=same, on_error="return")
        for address, why in obstacles.items():
            if isinstance(why, OSError):  # it is lost again
                continue
            if why:
                self._unfit[address] = str(why)
            else:
                self.slots[address] = min(self._at_once, there[address])


def _connect(address: str) -> Client:
    try:
        from distributed import Client
        from distributed.comm import get_address_host_port
    except ImportError:
        raise UsageError("a cluster needs Dask: pip install 'nfq-shaper[cluster]'") from None
    try:
        get_address_host_port(address)
    except ValueError as error:
        raise UsageError(f"'{address}' is no address of a scheduler, such as tcp://10.0.0.1:8786: {error}") from None
    try:
        return Client(address, timeout=CONNECT, set_as_default=False)
    except OSError:
        raise ShaperError(f"no scheduler answers at {address}; start one: dask scheduler") from None


def _words(trial: Trial) -> str:
    return trial.workload or " ".join(trial.command)
