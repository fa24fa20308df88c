"""unshare(2) and setns(2), which Python's os module has from 3.12 on only."""

import ctypes
import os

# linux/sched.h
CLONE_NEWUSER = 0x1000_0000
CLONE_NEWNET = 0x4000_0000

_libc = ctypes.CDLL(None, use_errno=True)


def unshare(kinds: int) -> None:
    """Move this process into new namespaces of these kinds.

    Raises:
        OSError: see unshare(2).
    """
    _check(_libc.unshare(kinds))


def setns(descriptor: int, kind: int) -> None:
    """Move this thread into the namespace that a descriptor stands for.

    Raises:
        OSError: see setns(2).
    """
    _check(_libc.setns(descriptor, kind))


def _check(result: int) -> None:
    if result:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
