"""The words for which packets are shaped, in profiles, options and rules alike."""

from __future__ import annotations

from typing import Literal

Hook = Literal["input", "output", "forward"]
"""Packets on their way into this machine, out of it, or through it."""

Protocol = Literal["tcp", "udp", "icmp", "all"]
"""icmp is ICMPv6, too."""
