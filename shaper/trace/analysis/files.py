"""What file descriptors stand for: a file, or a socket's ends, as far as the trace shows."""

from __future__ import annotations

from errno import EINPROGRESS

from shaper.trace.analysis.tasks import Task
from shaper.trace.read.events import TraceEvent


class Files:
    """The file descriptors of all processes.

    They are known from a recorder's snapshots ("file" events), and from calls whose arguments the trace has.
    """

    def __init__(self) -> None:
        self._of: dict[int, dict[int, str]] = {}
        self._shared: dict[int, dict[int, str]] = {}
        self._called: dict[int, TraceEvent] = {}

    def name(self, process: int, fd: int | None) -> str:
        """The file behind a process's file descriptor; "" if it is not known."""
        return "" if fd is None else self._of.get(process, {}).get(fd, "")

    def note(self, event: TraceEvent) -> None:
        """A snapshot has this file descriptor, of a process or of a table that several tasks may share."""
        fields = event.fields
        if "files" in fields:
            table = self._shared.setdefault(fields["files"], {})
        else:
            table = self._of.setdefault(fields["pid"], {})
        table[fields["fd"]] = fields["file"]

    def note_task(self, process: int, table: int) -> None:
        """A snapshot says that the process uses this table."""
        self._of[process] = self._shared.setdefault(table, {})

    def fork(self, parent: int, child: int) -> None:
        """A new process gets a copy of its parent's file descriptors."""
        self._of[child] = dict(self._of.get(parent, {}))

    def forget(self, process: int) -> None:
        """The process has ended."""
        self._of.pop(process, None)

    def enter(self, event: TraceEvent) -> None:
        """A call begins that changes what file descriptors stand for."""
        self._called[event.tid] = event

    def leave(self, event: TraceEvent, task: Task) -> None:
        """A call that changes what file descriptors stand for is over."""
        entry = self._called.pop(event.tid, None)
        result = event.fields["ret"]
        if entry is None or (result < 0 and result != -EINPROGRESS):
            return
        table = self._of.setdefault(task.process, {})
        fields, call = entry.fields, entry.fields["syscall"]
        fd: int = fields.get("fd", -1)
        if call in ("dup", "dup2", "dup3"):
            table[result] = table.get(fields.get("oldfd", fields.get("fildes", fd)), "")
        elif call == "close":
            table.pop(fd, None)
        elif call == "connect":
            if "peer" in fields:
                table[fd] = f"socket > {fields['peer']}"
        elif call in ("accept", "accept4"):
            table[result] = f"socket < {event.fields['peer']}" if "peer" in event.fields else "socket"
        elif call in ("open", "openat", "openat2", "creat"):
            table[result] = fields.get("filename", "")
        elif call.startswith("pipe"):
            for end, number in zip(("read", "write"), event.fields.get("fds", ()), strict=False):
                table[number] = f"pipe ({end} end)"
        else:
            table[result] = KINDS.get(call, call)


KINDS = {
    "epoll_create": "epoll", "epoll_create1": "epoll", "eventfd2": "eventfd", "timerfd_create": "timerfd",
    "signalfd4": "signalfd", "memfd_create": "memfd",
}  # fmt: skip
