"""The event model: what every reader yields and every analysis takes, whatever recorded it.

Names are the kernel's own, as in /sys/kernel/tracing/events; so are the fields, with
these exceptions, which make one form of what the sources spell differently:

| event                       | fields                                                         |
|-----------------------------|----------------------------------------------------------------|
| sys_enter                   | syscall: its name; fd where known; and what the source decodes  |
| sys_exit                    | syscall; ret                                                    |
| sched_switch                | prev_state: "R", "S", "D", … (ps(1)); next_pid; next_comm       |
| sched_waking                | pid, comm: who is woken; context: "h" or "s" where recorded     |
| sched_process_fork          | child_pid; child_comm; thread: 1 for a thread where known       |
| softirq_entry, softirq_exit | vec: "NET_RX", …                                                |
| irq_handler_entry, …_exit   | irq: "24 virtio0"                                               |
| hrtimer_expire_entry, …     | function                                                        |
| net_dev_queue               | len: of the IP packet; what else the source knows of it         |
| inet_sock_set_state         | newstate: "TCP_SYN_SENT", …                                    |
| task                        | a snapshot: pid, of: its process, comm, parent                 |
| file                        | a snapshot: pid, or files: a table's address; fd; file          |
| no_scheduler                | first, of a source that knows only how long calls took          |
| lost                        | count: of events that the recorder lost about then              |

Any event may have tgid: the process of the task that was running.
Readers yield events in the order of time, one by one, so that a trace of any size can be read.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from shaper.errors import ShaperError


class TraceError(ShaperError):
    """A trace can't be recorded or read, or not to its end."""


class TraceEvent(NamedTuple):
    """One event of the kernel.

    Attributes:
        at: when, in ns of the trace's clock.
        cpu: where.
        tid: the task that was running there, 0 for the idle task.
        comm: its name, "" where the source doesn't say.
        name: of the event.
        fields: what it says, by name.
    """

    at: int
    cpu: int
    tid: int
    comm: str
    name: str
    fields: dict[str, Any]
