"""What a process of a Dask cluster does for a plan: it keeps labs, and runs trials in them."""

from __future__ import annotations

from multiprocessing import Pipe
from multiprocessing.connection import wait
from threading import Lock, Timer

from shaper.errors import ShaperError
from shaper.experiment.lab import Lab
from shaper.experiment.trial import Outcome, Trial

IDLE = 60.0
"""Seconds after which a lab without a trial ends: whoever had the plan may have died."""


class Labs:
    """The labs of one plan in this process: as many as it has had trials at once.

    A lab ends with its process, however that ends.

    Args:
        mtu: of lo, in bytes.
    """

    def __init__(self, mtu: int) -> None:
        self._mtu = mtu
        self._lock = Lock()
        self._idle: list[tuple[Lab, Timer]] = []
        self._closed = False
        # Readable once this is closed.
        self._end, self._kept_open = Pipe(duplex=False)

    def run(self, trial: Trial) -> Outcome | ShaperError:
        """Run a trial to its end, or until `close`; returns its outcome, or why there is none."""
        try:
            lab = self._take()
        except ShaperError as error:
            return error
        except OSError as error:  # too many processes, or files
            return ShaperError(f"can't start a lab: {error}")
        try:
            lab.start(trial)
            if self._end in wait([lab.fileno(), self._end]):
                raise ShaperError("the plan has ended")
            outcome = lab.result()
        except ShaperError as error:
            lab.close()
            return error
        self._give_back(lab)
        return outcome

    def close(self) -> None:
        """End all labs, and the trials in them."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        self._kept_open.close()
        for lab, timer in idle:
            timer.cancel()
            lab.close()

    def _take(self) -> Lab:
        with self._lock:
            if self._idle:
                lab, timer = self._idle.pop()
                timer.cancel()
                return lab
        return Lab(mtu=self._mtu)

    def _give_back(self, lab: Lab) -> None:
        timer = Timer(IDLE, self._end_idle, [lab])
        timer.daemon = True
        with self._lock:
            if not self._closed:
                self._idle.append((lab, timer))
                timer.start()
                return
        lab.close()

    def _end_idle(self, lab: Lab) -> None:
        with self._lock:
            kept = [each for each in self._idle if each[0] is not lab]
            is_idle, self._idle = len(kept) < len(self._idle), kept
        if is_idle:
            lab.close()


_labs: dict[str, Labs] = {}
_lock = Lock()


def play(plan: str, mtu: int, trial: Trial) -> Outcome | ShaperError:
    """Run a trial here; returns its outcome, or why there is none.

    Args:
        plan: names the plan, among all that use this process.
        mtu: of lo, in bytes.
    """
    with _lock:
        if plan not in _labs:
            _labs[plan] = Labs(mtu)
        labs = _labs[plan]
    return labs.run(trial)


def obstacle(plan: str, mtu: int) -> str:
    """Why no trials of this plan can be run here, and what to do; empty if they can. It runs one."""
    outcome = play(plan, mtu, Trial(("true",), ("delay:0ms",)))
    return str(outcome) if isinstance(outcome, ShaperError) else ""


def close(plan: str) -> None:
    """End all that this process does for a plan."""
    with _lock:
        labs = _labs.pop(plan, None)
    if labs is not None:
        labs.close()
