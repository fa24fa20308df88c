"""System calls that Python's os module lacks; unshare(2) and setns(2) are in it from 3.12 on."""

import ctypes
import os
import struct

# linux/sched.h
CLONE_NEWUSER = 0x1000_0000
CLONE_NEWNET = 0x4000_0000

# linux/capability.h, _LINUX_CAPABILITY_VERSION_3
CAPABILITY_VERSION = 0x2008_0522

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


def prctl(option: int, *arguments: int) -> None:
    """Set an attribute of this thread, see prctl(2).

    Raises:
        OSError: see there.
    """
    given = [ctypes.c_ulong(argument) for argument in (*arguments, 0, 0, 0, 0)[:4]]
    _check(_libc.prctl(ctypes.c_int(option), *given))


def capset(capabilities: int) -> None:
    """Have these capabilities, a bit each, and no others: effective, permitted and inheritable ones. See capset(2).

    Raises:
        OSError: some are not permitted.
    """
    low, high = capabilities & 0xFFFF_FFFF, capabilities >> 32
    _check(_libc.capset(struct.pack("=Ii", CAPABILITY_VERSION, 0), struct.pack("=6I", *(low,) * 3, *(high,) * 3)))


def _check(result: int) -> None:
    if result:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
