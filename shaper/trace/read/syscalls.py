"""System calls: their names by number, which are about a file descriptor, and which make or close one."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from system_calls import syscalls

# Calls whose first argument is the file descriptor they are about (section 2 of the manual).
ABOUT_FIRST = """
    accept accept4 bind close connect copy_file_range dup dup2 dup3 epoll_ctl epoll_pwait epoll_pwait2 epoll_wait
    fallocate fcntl fdatasync flock fstat fsync ftruncate getdents getdents64 getpeername getsockname getsockopt
    io_uring_enter ioctl listen lseek pread64 preadv preadv2 pwrite64 pwritev pwritev2 read readahead readv recv
    recvfrom recvmmsg recvmsg send sendfile sendmmsg sendmsg sendto setsockopt shutdown signalfd4 splice
    sync_file_range syncfs tee timerfd_gettime timerfd_settime vmsplice write writev
"""
FIRST_IS_FD = frozenset(ABOUT_FIRST.split())
# Calls whose first argument is the number of a task.
ABOUT_PID = """
    get_robust_list getpgid getpriority getsid kcmp kill migrate_pages move_pages perf_event_open pidfd_open
    prlimit64 process_vm_readv process_vm_writev ptrace rt_sigqueueinfo rt_tgsigqueueinfo sched_getaffinity
    sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval sched_setaffinity sched_setattr
    sched_setparam sched_setscheduler setpgid tgkill tkill wait4 waitpid
"""
FIRST_IS_PID = frozenset(ABOUT_PID.split())
IN_KERNEL = {
    "newstat": "stat", "newlstat": "lstat", "newfstat": "fstat", "newuname": "uname", "sendfile64": "sendfile",
    "fadvise64_64": "fadvise64", "umount": "umount2", "ni_syscall": "not implemented",
}  # fmt: skip
"""The kernel's own names of calls, as in events/syscalls, where they differ (arch/x86/entry/syscalls)."""
# Calls that change what a file descriptor stands for.
CHANGING = """
    accept accept4 close connect creat dup dup2 dup3 epoll_create epoll_create1 eventfd eventfd2 memfd_create open
    openat openat2 pipe pipe2 signalfd4 socket timerfd_create
"""
OPENING = frozenset(CHANGING.split())


def numbers_of(machine: str) -> dict[int, str]:
    """The names by number on a machine such as "x86_64" or "aarch64"; empty if they are not known."""
    table = syscalls()
    name = {"aarch64": "arm64", "i686": "i386", "ppc64le": "powerpc64", "armv7l": "arm"}.get(machine, machine)
    if name not in table.archs():
        return {}
    return dict(table.load_reverse_arch_table(name))


BY_NUMBER = numbers_of(os.uname().machine)
"""The names by number on this machine."""


def fields_of(names: Mapping[int, str], number: int, first: int) -> dict[str, Any]:
    """The event fields for a call's number and its first argument: its name and the file descriptor.

    The arguments of poll and select are pointers, so their file descriptors stay unknown.
    """
    call = names.get(number) or f"syscall {number}"
    if call in FIRST_IS_FD:
        return {"syscall": call, "fd": first & 0xFFFFFFFF}
    return {"syscall": call}
