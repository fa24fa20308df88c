"""Lab: where trials are run, each in a private network of its own."""

from __future__ import annotations

from types import TracebackType

from shaper.experiment.trial import Outcome, Trial


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
        self._mtu = mtu

    def __enter__(self) -> Lab:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def run(self, trial: Trial) -> Outcome:
        """Run this trial to its end.

        Raises:
            LoadError: a policy that can't be used.
            ProgramError: there is no such program, or it can't be run.
            ShaperError: this machine can't shape packets.
        """
        raise NotImplementedError

    def close(self) -> None:
        """End the lab."""
