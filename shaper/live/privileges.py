"""What this process may do: its capabilities, see capabilities(7)."""

from pathlib import Path

# linux/capability.h
CAP_NET_ADMIN = 12
CAP_NET_RAW = 13
CAP_SYS_ADMIN = 21


def can(capability: int) -> bool:
    """Whether this process has the capability, in its own user namespace."""
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == "CapEff":
            return bool(int(value, 16) >> capability & 1)
    return False
