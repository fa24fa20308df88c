"""Words that say which packets are shaped, in profiles, options and rules."""

from __future__ import annotations

from typing import Literal

Hook = Literal["input", "output", "forward"]
"""Packets that come into this machine, leave it, or are forwarded by it."""

Protocol = Literal["tcp", "udp", "icmp", "all"]
"""icmp includes ICMPv6."""
