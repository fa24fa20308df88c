"""Lab: where trials are run, each in a private network of its own."""

from __future__ import annotations

import pickle
import subprocess
import sys
from multiprocessing import Pipe
from pathlib import Path
from types import TracebackType

from shaper.errors import ShaperError
from shaper.experiment.trial import Outcome, Trial

RUN = "import sys; sys.path.append(sys.argv[1]); from shaper.experiment.process import main; main(int(sys.argv[2]))"
"""shaper isn't searched for in the working directory, where anybody may have put a file."""
ROOT = Path(__file__).parents[2]


class Lab:
    """Runs trials one after the other. A context manager; when it ends, nothing is left.

    It needs no root where user namespaces are allowed. Each trial begins with a new network: no connections, no packets
    that are held, new policies. When its command has ended, so do all processes that it left behind.

    Args:
        mtu: of lo, in bytes.

    Raises:
        ShaperError: user namespaces are switched off here; the message names the setting.
    """

    def __init__(self, *, mtu: int = 1500) -> None:
        self._connection, theirs = Pipe()
        # A session of its own: a Ctrl-C in a terminal isn't for the commands in here. By exec, since this process may
        # have threads.
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-c", RUN, str(ROOT), str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        theirs.close()
        try:
            self._connection.send((sys.path, mtu))
            if isinstance(error := self._receive(), ShaperError):
                raise error
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Lab:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def fileno(self) -> int:
        """Readable when `result` doesn't wait."""
        return self._connection.fileno()

    def run(self, trial: Trial) -> Outcome:
        """Run this trial to its end.

        Raises:
            UsageError: a policy that can't be used; there is no such program, or it can't be run.
            ShaperError: this machine can't shape packets, or shaper died.
        """
        self.start(trial)
        return self.result()

    def start(self, trial: Trial) -> None:
        """Start this trial. The next call must be of `result` or of `close`.

        Raises:
            ShaperError: the lab's process has died.
        """
        try:
            self._connection.send(trial)
        except ConnectionError:
            raise ShaperError("the lab's process died") from None

    def result(self) -> Outcome:
        """Wait for the end of the trial that was started; see `run`."""
        answer = self._receive()
        if isinstance(answer, ShaperError):
            raise answer
        if not isinstance(answer, Outcome):
            raise ShaperError("the process of a trial died")
        return answer

    def _receive(self) -> object:
        """What the lab's process sends next; None for an empty answer.

        Raises:
            ShaperError: it has died.
        """
        try:
            answer = self._connection.recv_bytes()
        except (EOFError, ConnectionError):
            raise ShaperError("the lab's process died") from None
        return pickle.loads(answer) if answer else None

    def close(self) -> None:
        """End the lab, and the trial in it."""
        self._connection.close()
        self._process.wait()
