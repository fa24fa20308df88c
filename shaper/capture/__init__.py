"""Captures: pcap and pcapng files, exact to the nanosecond.

They are read and written with struct. scapy's readers can't tell a cut file from a whole
one, and its writer keeps times as floats. python-pcapng takes 100 us per packet, ten times
what the live engine spends on everything else, and can't read pcap.
"""

from shaper.capture.read import Capture, read_capture
from shaper.capture.source import CaptureError
from shaper.capture.write import CaptureWriter, FrameWriter

__all__ = ["Capture", "CaptureError", "CaptureWriter", "FrameWriter", "read_capture"]
