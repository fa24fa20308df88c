"""Numbers and names of the Linux kernel that the readers share; for those of system calls, see `syscalls`.

Source: the file of the kernel's tree that is named at each.
"""

from __future__ import annotations

CLONE_THREAD = 0x10000
"""The flag of clone(2) by which the child is a thread of its parent's process (include/uapi/linux/sched.h)."""
COMM_LENGTH = 15
"""Bytes of a task's name at most: TASK_COMM_LEN without its final zero byte (include/linux/sched.h)."""
ETHERNET_HEADER = 14
"""Bytes of the header that net_dev_queue counts as well: ETH_HLEN (include/uapi/linux/if_ether.h)."""
TCP_SYN_SENT = 2
"""The state of a TCP socket that has sent its SYN (include/net/tcp_states.h)."""
SOFTIRQS = ("HI", "TIMER", "NET_TX", "NET_RX", "BLOCK", "IRQ_POLL", "TASKLET", "SCHED", "HRTIMER", "RCU")
"""The softirqs by number (include/linux/interrupt.h), named as in the trace (include/trace/events/irq.h)."""
STATES = ("R", *("SDTtXZPI"[(bits & -bits).bit_length() - 1] for bits in range(1, 256)))
"""The letter of ps(1) for the low eight bits of sched_switch's prev_state: that of the lowest bit set.

"R" is a task that could have run on. (include/linux/sched.h; fs/proc/array.c, task_state_array)"""
OLD_STATES = ("R", *("SDTtXZXD"[(bits & -bits).bit_length() - 1] for bits in range(1, 256)))
"""The same for kernels before 4.14, where 64 is dead and 128 only adds to an uninterruptible sleep.

(include/linux/sched.h, TASK_STATE_TO_CHAR_STR)"""


def softirq(vector: int) -> str:
    """The name of the softirq of this number; the number itself where a new kernel has more of them."""
    return SOFTIRQS[vector] if vector < len(SOFTIRQS) else str(vector)
