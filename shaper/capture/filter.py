"""The packets of a capture that match a tcpdump expression, filtered by tcpdump."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from itertools import islice
from pathlib import Path
from tempfile import NamedTemporaryFile

from shaper.capture.frames import CaptureError, read_frames
from shaper.capture.read import ARRIVED, read_capture, read_packets
from shaper.capture.write import CaptureWriter
from shaper.errors import ShaperError, UsageError
from shaper.wire.packet import Packet


def read_filtered(path: Path, expression: str) -> Iterator[Packet]:
    """The IP packets of a capture that match; see `read_capture`. Their `id` counts the matching frames.

    Args:
        path: the capture.
        expression: see pcap-filter(7).

    Raises:
        UsageError: the expression is not valid.
        CaptureError: see `read_capture`.
        ShaperError: tcpdump is missing.
        OSError: the file can't be read.
    """
    # As root, it would become a user of its own, whom a user namespace may not have.
    command = ["tcpdump", "-Z", "root", "-r", "-", "-w", "-", "--time-stamp-precision=nano", "--", expression]
    with ExitStack() as opened:
        source = path
        if _is_own(path):
            # tcpdump ignores interfaces, so it is given only the packets as they came.
            source = Path(opened.enter_context(NamedTemporaryFile(suffix=".pcapng")).name)
            with CaptureWriter(source, interfaces=(ARRIVED,)) as writer:
                for packet in read_capture(path):
                    writer.arrived(packet)
        file = opened.enter_context(source.open("rb"))
        try:
            tcpdump = subprocess.Popen(command, stdin=file, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        except FileNotFoundError:
            raise ShaperError("--filter needs tcpdump: apt install tcpdump") from None
        error = None
        with tcpdump:
            assert tcpdump.stdout is not None
            assert tcpdump.stderr is not None
            try:
                yield from read_packets(tcpdump.stdout, str(path))
            except CaptureError as caught:
                error = caught
            lines = tcpdump.stderr.read().decode(errors="replace").strip().splitlines()
    if tcpdump.returncode:
        reason = lines[-1].removeprefix("tcpdump: ") if lines else f"tcpdump gave status {tcpdump.returncode}"
        if error is not None:
            # tcpdump wrote nothing.
            raise UsageError(f"filter '{expression}' on {path}: {reason}")
        reason = "is cut off" if "truncated dump file" in reason else f"is damaged: {reason}"
        raise CaptureError(f"{path} {reason}; only the packets up to there were used")
    if error is not None:
        raise error


def _is_own(path: Path) -> bool:
    """Whether shaper wrote the capture, with each packet as it came and as it went on."""
    with path.open("rb") as file, suppress(CaptureError):
        return any(frame.interface == ARRIVED for frame in islice(read_frames(file, str(path)), 1))
    return False
