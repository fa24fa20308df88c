"""Marks in the kernel's trace: when each packet was taken and when it went on, for any tracer to see.

They are written as Android's atrace does, so that Perfetto shows each packet as a slice; to trace-cmd and perf (event
ftrace:print) they are lines of text.

Source: Documentation/trace/ftrace.rst, "trace_marker"; Perfetto, "ATrace: Android system events".
"""

from __future__ import annotations

import os
from contextlib import suppress

from shaper.core.verdict import Verdict
from shaper.wire.packet import Packet


class Marks:
    """Writes to a trace_marker.

    Args:
        descriptor: of the opened file; the caller closes it.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._process = os.getpid()

    def arrived(self, packet: Packet) -> None:
        """The packet was taken: a slice begins."""
        self._write("S", packet)

    def answered(self, verdict: Verdict) -> None:
        """Its verdict was given: the slice ends."""
        if verdict.packet.root.id:
            self._write("F", verdict.packet.root)

    def _write(self, phase: str, packet: Packet) -> None:
        tcp = packet.tcp
        flags = f"{tcp.flag_names} " if tcp is not None else ""
        # While tracing is off the kernel refuses the write, which is no failure.
        with suppress(OSError):
            line = f"{phase}|{self._process}|shaper {flags}{packet.flow}|{packet.id}"
            os.write(self._descriptor, line.encode())
