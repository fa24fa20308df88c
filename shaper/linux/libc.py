"""Calls of the C library that Python's os module lacks: they are declared here, and nowhere else.

os has unshare and setns from Python 3.12 on, and the timers from 3.13 on. signal has no signalfd.

Calls on the path of packets are *prepared*: `ppoll`, `recvmmsg` and `timerfd_settime` convert the arguments once, and
return what to call and with what. What the structures hold is read at each call. To convert the arguments each time
would make a call up to twice as slow.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Callable, Iterable
from ctypes import POINTER, byref, c_char_p, c_int, c_int64, c_long, c_short, c_uint, c_ulong, c_void_p
from typing import Any

Prepared = tuple[Callable[..., int], tuple[Any, ...]]
"""A function of the C library and its arguments; where it returns a negative number, see `last_error`."""

# linux/sched.h
CLONE_NEWNS = 0x0002_0000
CLONE_NEWUSER = 0x1000_0000
CLONE_NEWNET = 0x4000_0000

# linux/prctl.h
PR_SET_PDEATHSIG = 1

# linux/capability.h, _LINUX_CAPABILITY_VERSION_3
CAPABILITY_VERSION = 0x2008_0522

# linux/timerfd.h
TFD_NONBLOCK, TFD_CLOEXEC = os.O_NONBLOCK, os.O_CLOEXEC
TFD_TIMER_ABSTIME = 1

# asm-generic/mman.h
MCL_CURRENT, MCL_ONFAULT = 1, 4

# linux/signalfd.h
SFD_NONBLOCK, SFD_CLOEXEC = os.O_NONBLOCK, os.O_CLOEXEC

# linux/mount.h
MS_BIND, MS_REC, MS_PRIVATE = 1 << 12, 1 << 14, 1 << 18

# linux/mount.h, and the numbers of the system calls, which are the same on all architectures.
FSOPEN_CLOEXEC = FSMOUNT_CLOEXEC = 1
FSCONFIG_CMD_CREATE = 6
_FSOPEN, _FSCONFIG, _FSMOUNT = 430, 431, 432
# asm/unistd.h: this one differs. A 32-bit program on a 64-bit machine has other numbers than the machine's.
_SCHED_SETATTR = {"x86_64": 314, "aarch64": 274, "riscv64": 274, "ppc64le": 355, "s390x": 345}


class TimeSpec(ctypes.Structure):
    """struct timespec."""

    _fields_ = (("tv_sec", c_int64), ("tv_nsec", c_long))


class ITimerSpec(ctypes.Structure):
    """struct itimerspec, see timerfd_create(2)."""

    _fields_ = (("it_interval", TimeSpec), ("it_value", TimeSpec))


class PollFD(ctypes.Structure):
    """struct pollfd, see poll(2)."""

    _fields_ = (("fd", c_int), ("events", c_short), ("revents", c_short))


class IOVec(ctypes.Structure):
    """struct iovec, see readv(2)."""

    _fields_ = (("iov_base", c_void_p), ("iov_len", ctypes.c_size_t))


class MsgHdr(ctypes.Structure):
    """struct msghdr, see recvmsg(2)."""

    _fields_ = (
        ("msg_name", c_void_p),
        ("msg_namelen", c_uint),
        ("msg_iov", POINTER(IOVec)),
        ("msg_iovlen", ctypes.c_size_t),
        ("msg_control", c_void_p),
        ("msg_controllen", ctypes.c_size_t),
        ("msg_flags", c_int),
    )


class MMsgHdr(ctypes.Structure):
    """struct mmsghdr, see recvmmsg(2)."""

    _fields_ = (("msg_hdr", MsgHdr), ("msg_len", c_uint))


_libc = ctypes.CDLL(None, use_errno=True)
_libc.unshare.argtypes = (c_int,)
_libc.setns.argtypes = (c_int, c_int)
_libc.mount.argtypes = (c_char_p, c_char_p, c_char_p, c_ulong, c_void_p)
_libc.prctl.argtypes = (c_int, c_ulong, c_ulong, c_ulong, c_ulong)
_libc.capset.argtypes = (c_char_p, c_char_p)
_libc.timerfd_create.argtypes = (c_int, c_int)
_libc.syscall.restype = c_long
# Keeps the interpreter's lock: for what never waits, since releasing it costs more than other threads gain.
_never_waiting = ctypes.PyDLL(None, use_errno=True)
# Keeps no errno: for calls of which nobody asks why they failed.
_without_errno = ctypes.CDLL(None)


def unshare(kinds: int) -> None:
    """Move this process into new namespaces of these kinds.

    Raises:
        OSError: see unshare(2).
    """
    _checked(_libc.unshare(kinds))


def setns(descriptor: int, kind: int) -> None:
    """Move this thread into the namespace that a descriptor refers to.

    Raises:
        OSError: see setns(2).
    """
    _checked(_libc.setns(descriptor, kind))


def mount(source: str, target: str, flags: int) -> None:
    """Change the mounts of this process's namespace, by flags that need no type of file system.

    Raises:
        OSError: see mount(2).
    """
    _checked(_libc.mount(os.fsencode(source), os.fsencode(target), None, flags, None))


def prctl(option: int, *arguments: int) -> None:
    """Set an attribute of this thread, see prctl(2); arguments left out are 0.

    Raises:
        OSError: see there.
    """
    _checked(_libc.prctl(option, *(*arguments, 0, 0, 0, 0)[:4]))


def capset(capabilities: int) -> None:
    """Have these capabilities, a bit each, and no others: effective, permitted and inheritable ones. See capset(2).

    Raises:
        OSError: some are not permitted.
    """
    low, high = capabilities & 0xFFFF_FFFF, capabilities >> 32
    _checked(_libc.capset(struct.pack("=Ii", CAPABILITY_VERSION, 0), struct.pack("=6I", *(low,) * 3, *(high,) * 3)))


def fsopen(name: str, flags: int) -> int:
    """A descriptor for making a mount of this kind of file system, see fsopen(2).

    Raises:
        OSError: see there; ENODEV where the kernel lacks it.
    """
    return _checked(_libc.syscall(c_long(_FSOPEN), c_char_p(name.encode()), c_uint(flags)))


def fsconfig(context: int, command: int) -> None:
    """Carry out a command that takes no arguments on what `fsopen` gave, see fsconfig(2).

    Raises:
        OSError: see there.
    """
    _checked(_libc.syscall(c_long(_FSCONFIG), c_int(context), c_uint(command), None, None, c_int(0)))


def fsmount(context: int, flags: int) -> int:
    """A descriptor of a new mount that is attached nowhere, see fsmount(2).

    Raises:
        OSError: see there.
    """
    return _checked(_libc.syscall(c_long(_FSMOUNT), c_int(context), c_uint(flags), c_uint(0)))


def sched_setattr(policy: int, nice: int, runtime: int) -> None:
    """Set this thread's scheduling policy, nice value and slice (ns; 0 for the default), see sched_setattr(2).

    Raises:
        OSError: see there; ENOSYS where its number isn't known.
    """
    number = _SCHED_SETATTR.get(os.uname().machine) if ctypes.sizeof(c_void_p) == 8 else None
    if number is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    size = 48  # SCHED_ATTR_SIZE_VER0, linux/sched/types.h
    attributes = struct.pack("=IIQiIQQQ", size, policy, 0, nice, 0, runtime, 0, 0)
    _checked(_libc.syscall(c_long(number), c_int(0), c_char_p(attributes), c_uint(0)))


def mlockall(flags: int) -> None:
    """Keep pages of this process in memory, see mlockall(2).

    Raises:
        OSError: it is not permitted, or more than may be locked.
    """
    _checked(_libc.mlockall(flags))


def timerfd_create(clock: int, flags: int) -> int:
    """The descriptor of a new timer.

    Raises:
        OSError: see timerfd_create(2).
    """
    return _checked(_libc.timerfd_create(clock, flags))


def timerfd_settime(descriptor: int, flags: int, spec: ITimerSpec) -> Prepared:
    """Set a timer to what the structure holds, see timerfd_settime(2)."""
    return _libc.timerfd_settime, (c_int(descriptor), c_int(flags), byref(spec), None)


def ppoll(polled: ctypes.Array[PollFD], count: c_ulong, timeout: TimeSpec) -> Prepared:
    """Wait for the first `count` of these descriptors, see ppoll(2); for why it failed there is no `last_error`."""
    return _without_errno.ppoll, (polled, count, byref(timeout), None)


def recvmmsg(descriptor: int, messages: ctypes.Array[MMsgHdr], flags: int) -> Prepared:
    """Take as many datagrams as there are messages, at most, see recvmmsg(2); the flags must forbid waiting."""
    return _never_waiting.recvmmsg, (c_int(descriptor), messages, c_uint(len(messages)), c_int(flags), None)


def signalfd(signals: Iterable[int], flags: int) -> int:
    """A descriptor from which these signals can be read while they are blocked.

    Raises:
        OSError: see signalfd(2).
    """
    chosen = ctypes.create_string_buffer(128)  # sigset_t of glibc and musl
    for number in signals:
        _checked(_libc.sigaddset(chosen, number))
    return _checked(_libc.signalfd(-1, chosen, flags))


def last_error() -> OSError:
    """Why the last call of this thread failed."""
    error = ctypes.get_errno()
    return OSError(error, os.strerror(error))


def _checked(result: int) -> int:
    if result < 0:
        raise last_error()
    return result
