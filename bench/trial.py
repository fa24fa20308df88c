"""One subject at work in a namespace of its own."""

import json
import signal
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from bench.compiled import BenchError
from bench.load import Load, load
from bench.namespace import Namespace
from bench.subjects import Subject
from shaper.linux import proc

START_WITHIN = 15
STOP_WITHIN = 30
HELD = 0.99
"""The share of a hold that must have passed when a packet arrives; the clocks may differ a little."""


class TrialCounts(NamedTuple):
    """What sender, subject and receiver counted over a whole trial, and where packets were lost."""

    sent: int
    taken: int
    received: int
    queue_full: int
    buffer_full: int
    receiver_full: int


class Trial:
    """A subject that has been started: `load` sends through it, `stop` ends it and returns all counts.

    Raises:
        BenchError: the subject can't start.
    """

    def __init__(self, subject: Subject, protocol: str | None = "udp", *, veth: bool = False) -> None:
        self.subject = subject
        self.namespace = Namespace(protocol if subject.command else None, veth=veth, queues=subject.queues)
        self.sent = self.received = 0
        self.summary: dict[str, Any] = {}  # what the subject printed at its end
        self.process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        try:
            if self.subject.command:
                self.process = self.namespace.start(self.subject.command)
                self._wait_until_bound(self.process)
        except BaseException:
            self.namespace.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.namespace.close()

    def _wait_until_bound(self, process: subprocess.Popen[str]) -> None:
        give_up = time.monotonic() + START_WITHIN
        while self.namespace.queue() is None:
            if process.poll() is not None or time.monotonic() > give_up:
                process.kill()
                last_words = process.communicate()[1].strip().splitlines()[-1:]
                raise BenchError(f"{self.subject.name} did not start: {' '.join(last_words)}")
            time.sleep(0.01)

    def load(self, **options: Any) -> Load:
        """As `bench.load.load`; its counts are added to the trial's.

        Raises:
            BenchError: nothing was sent, or a packet came before its hold was over.
        """
        result = load(self.namespace, **options)
        self.sent += result.sent
        self.received += result.received
        if not result.sent:
            raise BenchError("the sender sent nothing")
        if result.received and result.min < HELD * self.subject.hold:
            raise BenchError(f"{self.subject.name} held a packet only {result.min / 1e6:.3f} ms")
        return result

    def load_and_cost(self, **options: Any) -> tuple[Load, float]:
        """A load, and the subject's CPU time per packet in µs, with all its threads and workers."""
        before = self.cpu_time()
        result = self.load(**options)
        return result, (self.cpu_time() - before) / 1000 / max(result.received, 1)

    def cpu_time(self) -> int:
        """CPU time so far in ns, exact while the subject sleeps (kernel: Documentation/scheduler/sched-stats)."""
        if self.process is None:
            return 0
        time.sleep(0.02)
        pids = [self.process.pid, *self._engines()]
        tasks = [task for pid in pids for task in Path(f"/proc/{pid}/task").glob("*/schedstat")]
        return sum(int(task.read_text().split()[0]) for task in tasks)

    def _engines(self) -> list[int]:
        """The processes that take the packets, if it is shaper, which forks them."""
        if self.process is None or not self.subject.is_shaper:
            return []
        return proc.children(self.process.pid)

    def engine(self) -> int:
        """The process that takes the packets."""
        assert self.process is not None
        (pid,) = self._engines() or [self.process.pid]
        return pid

    def resident(self) -> int:
        """The resident memory in bytes of the process that takes the packets."""
        lines = Path(f"/proc/{self.engine()}/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS"))

    def stop(self) -> TrialCounts:
        """Stop the subject as Ctrl-C does. Returns the counts of the trial.

        Raises:
            BenchError: it doesn't stop, or says nothing.
        """
        assert self.process is not None
        queue = self.namespace.queue()
        self.process.send_signal(signal.SIGINT)
        try:
            out, err = self.process.communicate(timeout=STOP_WITHIN)
        except subprocess.TimeoutExpired:
            raise BenchError(f"{self.subject.name} did not stop") from None
        try:
            summary = json.loads(out[out.index("{") :])
        except ValueError:
            raise BenchError(f"{self.subject.name} printed no summary: {err.strip()[-200:]}") from None
        self.summary = summary
        full = (queue.queue_full, queue.buffer_full) if queue else (0, 0)
        return TrialCounts(self.sent, summary["taken"], self.received, *full, self.namespace.receiver_drops())
