"""The packets of a capture that match a tcpdump expression, filtered by tcpdump."""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Iterable, Iterator
from struct import Struct

from shaper.capture.source import CaptureError
from shaper.core.verdict import Verdict
from shaper.errors import ShaperError, UsageError
from shaper.wire.packet import Packet

BATCH = 1 << 22
"""How many bytes of packets tcpdump is given at a time."""
LONGEST = 1 << 18
"""tcpdump reads no longer packets; of one that is longer, it is given the first bytes."""
_header = Struct("<IHHIIII").pack(0xA1B2C3D4, 2, 4, 0, 0, LONGEST, 101)
_record = Struct("<IIII")


def matching(
    arrivals: Iterable[Packet | Verdict], expression: str, name: str, left_out: Counter[str]
) -> Iterator[Packet | Verdict]:
    """The packets that match. They are filtered without the headers of the link.

    Args:
        arrivals: see `Capture`; what is no packet never matches.
        expression: see pcap-filter(7).
        name: of the capture, for errors.
        left_out: counts the others.

    Raises:
        UsageError: the expression is not valid.
        CaptureError: what `arrivals` raised, after all packets before it.
        ShaperError: tcpdump is missing.
    """
    error = None
    iterator = iter(arrivals)
    is_over = False
    while not is_over:
        batch: list[Packet] = []
        size = others = 0
        try:
            while size < BATCH:
                arrival = next(iterator)
                if isinstance(arrival, Packet):
                    batch.append(arrival)
                    size += len(arrival.raw) + _record.size
                else:
                    others += 1
                    size += 1
        except StopIteration:
            is_over = True
        except CaptureError as caught:
            error, is_over = caught, True
            if not batch:
                break
        found = _numbers(batch, expression, name)
        left_out["not matched by the filter"] += len(batch) - len(found) + others
        yield from (batch[number] for number in found)
    if error is not None:
        raise error


def _numbers(batch: list[Packet], expression: str, name: str) -> list[int]:
    """Which of these packets match, by their places; tcpdump keeps the times that it is given."""
    capture = [_header]
    for number, packet in enumerate(batch):
        raw = packet.raw[:LONGEST]
        capture += _record.pack(number, 0, len(raw), max(packet.length, len(raw))), raw
    # As root, it would become a user of its own, whom a user namespace may not have.
    command = ["tcpdump", "-Z", "root", "-r", "-", "-w", "-", "--", expression]
    try:
        done = subprocess.run(command, input=b"".join(capture), capture_output=True, check=False)
    except FileNotFoundError:
        raise ShaperError("--filter needs tcpdump: apt install tcpdump") from None
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        reason = lines[-1].removeprefix("tcpdump: ") if lines else f"tcpdump gave status {done.returncode}"
        raise UsageError(f"filter '{expression}' on the IP packets of {name}: {reason}")
    at, numbers = len(_header), []
    while at < len(done.stdout):
        number, _, captured, _ = _record.unpack_from(done.stdout, at)
        numbers.append(number)
        at += _record.size + captured
    return numbers
