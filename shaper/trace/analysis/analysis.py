"""Blocking analysis: from the scheduler's events to the intervals in which calls slept, and what woke them.

Only the state of each task and a bounded part of its past are kept, so a trace of any
length can be analysed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial

from shaper.trace.analysis.context import ENTRIES, EXITS, IDLE, Contexts
from shaper.trace.analysis.files import Files
from shaper.trace.analysis.tasks import RACE, Off, Task
from shaper.trace.read.events import TraceEvent
from shaper.trace.read.syscalls import OPENING

Observer = Callable[[TraceEvent], object]


class Analysis:
    """Follows all tasks of a trace.

    Attributes:
        tasks: by tid; the latest one where the kernel used a number again.
        exited: tasks that have ended.
        first, last: times of the first and the last event, in ns.
        count: how many events there were so far.
        lost: how many events the recorder lost.
        scheduler: the trace has the scheduler's events, so CPU times and critical paths are known.
        files: what file descriptors stand for.
        contexts: which interrupts and timers each CPU is in.
        seen: the names of the events that came.
    """

    def __init__(self) -> None:
        self.tasks: dict[int, Task] = {}
        self.exited: list[Task] = []
        self.first = self.last = self.count = self.lost = 0
        self.scheduler = True
        self.files = Files()
        self.contexts = Contexts(self.tasks)
        self.seen: set[str] = set()
        self._over: tuple[Task, Off] | None = None
        self._handlers: dict[str, Observer] = {
            "sched_switch": self._switch,
            "sched_waking": self._waking,
            "sys_enter": self._enter,
            "sys_exit": self._exit,
            "sched_process_fork": self._fork,
            "sched_process_exit": self._process_exit,
            "inet_sock_set_state": self._state,
            "net_dev_queue": self._queued,
            "task": self._task_note,
            "file": self.files.note,
            "lost": self._lost,
            "no_scheduler": self._no_scheduler,
            **dict.fromkeys(ENTRIES, self.contexts.enter),
            **dict.fromkeys(EXITS, self.contexts.leave),
        }

    def observe(self, name: str, observer: Observer) -> None:
        """Call the observer for each event of this name, after the analysis, which must use such events itself."""
        mine = self._handlers[name]
        self._handlers[name] = lambda event: (mine(event), observer(event))

    def run(self, events: Iterable[TraceEvent]) -> Iterator[tuple[Task, Off]]:
        """Analyse these events. Yields each sleep, with its task, when it is over.

        In the end come the sleeps that are not over; their `end` is -1.
        """
        handlers = self._handlers
        for name, first in list(handlers.items()):
            handlers[name] = partial(self._see, first)
        handler_of, count, last = handlers.get, 0, 0
        # Most of the time is spent here, so the work for each event is kept short.
        try:
            for event in events:
                handler = handler_of(event[4])
                if handler is None:
                    continue
                if at := event[0]:
                    if not count:
                        self.first = at
                    last = at
                    count += 1
                handler(event)
                if self._over is not None:
                    over, self._over = self._over, None
                    self.last, self.count = last, count
                    yield over
        finally:
            self.last, self.count = last, count
        for task in self.tasks.values():
            task.until = self.last
            if task.running >= 0:
                task.cpu += self.last - task.running
                task.running = self.last
            if task.off is not None and task.off.slept:
                task.off.file = self.files.name(task.process, task.off.fd)
                yield task, task.off

    def _see(self, handler: Observer, event: TraceEvent) -> None:
        """Take note of the first event of its name. Those after it are handled at once."""
        self.seen.add(event.name)
        self._handlers[event.name] = handler
        handler(event)

    def find(self, tid: int, at: int) -> Task | None:
        """The task that had this number at that time (ns); None if there was none."""
        task = self.tasks.get(tid)
        if task is not None and (task.since <= at or not self.exited):
            return task
        return next((old for old in reversed(self.exited) if old.tid == tid and old.since <= at), task)

    def leader(self, task: Task) -> Task:
        """The main thread of the task's process, which stands for the process."""
        return self.tasks.get(task.process, task)

    def task(self, event: TraceEvent) -> Task:
        """The task that was running when this event came."""
        at, _, tid, comm, _, fields = event
        task = self.tasks.get(tid)
        if task is None:
            task = self.tasks[tid] = Task(tid, comm, at)
            task.process = tid
        if comm:
            task.comm = comm
        if "tgid" in fields:
            task.process = fields["tgid"]
        return task

    def _switch(self, event: TraceEvent) -> None:
        at, fields = event.at, event.fields
        self.contexts.reset(event.cpu)
        task = self.task(event)
        if task.running >= 0:
            task.cpu += at - task.running
        task.running = -1
        next_tid = fields["next_pid"]
        if next_tid == IDLE:
            task.followed = True
        if (state := fields["prev_state"]) in ("X", "Z"):
            self._gone(task, at)
        elif event.tid:
            left = task.off = Off(at, at if state == "R" else -1, -1, state, task.syscall, task.fd)
            if left.slept and task.early is not None and at - task.early[0] <= RACE:
                left.woken, left.waker, left.by = at, task.early[1], task.early[2]
            task.early = None
        if next_tid == IDLE:
            return
        following = self.tasks.get(next_tid)
        if following is None:
            following = self.tasks[next_tid] = Task(next_tid, "", at)
            following.process = next_tid
        if event.tid == IDLE:
            # Between two other tasks, a switch is recorded if either is followed; this one only if the task is.
            following.followed = True
        following.comm = fields["next_comm"]
        if following.off is None and not following.past and not following.cpu:
            following.since = at  # whatever it did before was not recorded
        self._runs(following, at)

    def _runs(self, task: Task, at: int) -> None:
        """The task is on a CPU from now on. If it slept, its sleep is over."""
        task.running = at
        off, task.off, task.early = task.off, None, None
        if off is not None:
            off.end = max(at, off.start)  # in a damaged trace, times may go back
            off.woken = off.end if off.woken < 0 else min(off.woken, off.end)
            off.file = self.files.name(task.process, off.fd)
            task.remember(off)
            if off.state != "R":
                self._over = task, off

    def _waking(self, event: TraceEvent) -> None:
        woken = self.tasks.get(event.fields["pid"])
        if woken is None:
            return
        waker = self.contexts.waker(event)
        if waker is None:
            waker = self.contexts.of_task(self.task(event))
        off = woken.off
        if off is None:
            woken.early = event.at, waker, event.tid
        elif off.slept and (off.waker is None or off.woken == off.start):
            off.woken, off.waker, off.by = event.at, waker, event.tid
            if waker.kind == "softirq" and waker.name == "NET_RX":
                sender = self.tasks.get(event.tid)
                off.sent_by = sender is not None and bool(sender.syscall) and sender.sent >= sender.entered

    def _enter(self, event: TraceEvent) -> None:
        task, fields = self.task(event), event[5]
        call = task.syscall = fields["syscall"]
        task.fd, task.entered, task.followed = fields.get("fd"), event[0], True
        if call in OPENING:
            self.files.enter(event)
            if call.startswith("accept"):
                task.role = "server"
            elif "peer" in fields:
                task.role = task.role or "client"

    def _exit(self, event: TraceEvent) -> None:
        task = self.task(event)
        if task.off is not None:
            self._runs(task, event[0])  # the kernel's filter by process sometimes drops a switch from idle
        if task.syscall in OPENING:
            self.files.leave(event, task)
        task.syscall, task.fd, task.followed = "", None, True

    def _state(self, event: TraceEvent) -> None:
        """A TCP socket changes its state. Only when it opens, this is in the task that asked for it."""
        if event.fields["newstate"] == "TCP_SYN_SENT" and event.tid:
            task = self.task(event)
            task.role = task.role or "client"

    def _queued(self, event: TraceEvent) -> None:
        if self.contexts.waker(event) is None and event.tid:
            self.task(event).sent = event.at

    def _fork(self, event: TraceEvent) -> None:
        fields, parent = event.fields, self.task(event)
        tid = fields["child_pid"]
        old = self.tasks.pop(tid, None)
        if old is not None and old.forked_by is parent and old.running < 0 and not old.past and "thread" not in fields:
            # A second event of the same fork, which knows less: sched_process_fork comes after task_newtask.
            self.tasks[tid] = old
            return
        if old is not None and old.cpu:
            # The kernel used the number again; the exit of its last owner was not recorded.
            self._gone(old, event.at)
        child = self.tasks[tid] = Task(tid, fields["child_comm"], event.at)
        child.forked_by, child.followed = parent, parent.followed
        # Until it runs for the first time, it waits for a CPU.
        child.off = Off(event.at, event.at, -1, "R")
        if fields.get("thread"):
            child.process, child.parent = parent.process, parent.parent
        else:
            child.process, child.parent = tid, parent.process
            self.files.fork(parent.process, tid)

    def _process_exit(self, event: TraceEvent) -> None:
        task = self.tasks.get(event.fields.get("pid", event.tid))
        if task is not None:
            task.syscall, task.fd, task.until = "exit", None, event.at

    def _gone(self, task: Task, at: int) -> None:
        task.until = task.until or at
        task.off = None
        self.exited.append(task)
        if self.tasks.get(task.tid) is task:
            del self.tasks[task.tid]
        if task.process == task.tid:
            self.files.forget(task.tid)

    def _task_note(self, event: TraceEvent) -> None:
        """A snapshot gives the name and the process of a task."""
        fields = event.fields
        task = self.tasks.get(fields["pid"])
        if task is None:
            task = self.tasks[fields["pid"]] = Task(fields["pid"], fields["comm"], event.at)
        task.comm, task.process, task.parent = fields["comm"], fields["of"], fields["parent"]
        if fields.get("files") is not None:
            self.files.note_task(task.process, fields["files"])

    def _no_scheduler(self, _: TraceEvent) -> None:
        self.scheduler = False

    def _lost(self, event: TraceEvent) -> None:
        """After a gap, nothing that was under way before it can be trusted."""
        self.lost += event.fields["count"]
        self.contexts.forget()
        for task in self.tasks.values():
            task.off, task.running, task.early, task.syscall, task.fd = None, -1, None, "", None
