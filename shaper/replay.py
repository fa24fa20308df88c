"""A capture through the core, in virtual time: the clock is the capture's own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from shaper.capture import CaptureError
from shaper.core.core import Core
from shaper.core.verdict import Verdict
from shaper.core.virtual import play
from shaper.policy.signal import SignalRecord
from shaper.wire.packet import Packet


def replay(packets: Iterable[Packet], core: Core, signals: Iterable[SignalRecord] = ()) -> Iterator[Verdict]:
    """The verdicts on the packets of a capture; see `play`.

    Args:
        packets: in the order of the capture.
        core: a fresh one.
        signals: in the order in which they were recorded.

    Raises:
        CaptureError: what `packets` raised, after the verdicts on all packets before it.
        ValueError: see `play`.
    """
    error = None

    def readable() -> Iterator[Packet]:
        nonlocal error
        try:
            yield from packets
        except CaptureError as caught:
            error = caught

    yield from play(core, readable(), signals)
    if error is not None:
        raise error
