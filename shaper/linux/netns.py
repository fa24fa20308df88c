"""Another network namespace: one made by `ip netns`, that of a process (say, of a container), or a file."""

import os
from pathlib import Path

from shaper.errors import ShaperError, UsageError
from shaper.linux.capabilities import CAP_SYS_ADMIN, remedy
from shaper.linux.libc import CLONE_NEWNET, setns

NAMED = Path("/run/netns")
"""Where ip-netns(8) keeps them."""


def join(name: str) -> None:
    """Move this thread, and those that it starts, into a network namespace.

    Args:
        name: its name in `ip netns`, the number of a process in it, or the path of its file.

    Raises:
        UsageError: there is no such namespace.
        ShaperError: this user may not enter it.
    """
    path = _path(name)
    try:
        with path.open("rb") as file:
            setns(file.fileno(), CLONE_NEWNET)
    except FileNotFoundError:
        raise UsageError(
            f"there is no network namespace '{name}': give a name that `ip netns` lists, "
            "the number of a process, or a path such as /proc/1234/ns/net"
        ) from None
    except PermissionError:
        raise ShaperError(f"no permission to enter the network namespace '{name}'; {remedy(CAP_SYS_ADMIN)}") from None
    except OSError as error:
        raise UsageError(f"'{name}' is not a network namespace: {os.strerror(error.errno or 0)}") from None


def _path(name: str) -> Path:
    if "/" in name:
        return Path(name)
    named = NAMED / name
    return Path(f"/proc/{name}/ns/net") if name.isdecimal() and not named.exists() else named
