"""Network: a private network of this machine, shaped by policies, in which programs run."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar

from shaper.errors import ShaperError
from shaper.journal import read_journal
from shaper.live.summary import Summary
from shaper.network.call import call_inside
from shaper.network.host import Link, host
from shaper.network.inside import Entrance
from shaper.network.listening import Protocol
from shaper.network.order import Order
from shaper.network.packets import Packets
from shaper.network.waits import Wait
from shaper.spec.profiles import find

P = ParamSpec("P")
R = TypeVar("R")
PATIENCE = 2.0
"""Seconds that programs have to end by themselves when the network does."""
POLLING = 0.005
"""Seconds between two looks."""


class Network:
    """A private network of this machine: nobody else is in it, and its only interface, lo, is shaped.

    It needs no root where user namespaces are allowed. Programs inside have the user of this process.

        with Network("delay:20ms", "loss:1%", seed=7) as network:
            network.start(["redis-server", "--port", "6380"])
            network.wait_for_port(6380)
            done = network.run(["redis-cli", "-p", "6380", "ping"], timeout=5)

    When the `with` ends, so do all processes inside.

    Args:
        policies: SPECs, as of `shaper run --policy`.
        seed: decides all chance: the same seed, the same losses.
        profile: the name or file of a profile, whose policies come first.
        mtu: of lo, in bytes.
        pcap: a file for a capture of all packets, as of `shaper run --pcap`.
        journal: a file for what happens to each packet, as of `shaper run --journal`; written when it is closed.
        watch: look which calls wait inside, for `blockings`.

    Attributes:
        is_inside: this process is inside already, so what it starts is, too.

    Raises:
        UsageError: a policy or profile can't be used.
    """

    def __init__(
        self,
        *policies: str,
        seed: int | str | None = None,
        profile: str | None = None,
        mtu: int = 1500,
        pcap: Path | None = None,
        journal: Path | None = None,
        watch: bool = True,
    ) -> None:
        specs, scenario = policies, None
        if profile is not None:
            found = find(profile)
            specs, scenario = found.followed_by(policies)
            seed = found.seed if seed is None else seed
        capture = None if pcap is None else str(pcap.absolute())
        self._order = Order(specs, scenario, str(0 if seed is None else seed), mtu, capture, watch)
        self.is_inside = False
        self._journal = journal
        self._link: Link | None = None
        self._started: list[tuple[str, subprocess.Popen[Any]]] = []  # with the names of the programs
        self._last: tuple[Summary, Packets, list[Wait]] | None = None

    @property
    def policies(self) -> tuple[str, ...]:
        """The SPECs that it was made with."""
        return self._order.policies

    @property
    def seed(self) -> str:
        """What decides all chance."""
        return self._order.seed

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def open(self) -> None:
        """Make the network.

        Raises:
            UsageError: a policy can't be used, or the MTU is too small.
            ShaperError: this machine can't make private networks, or shape packets; the message says what to do.
        """
        if self._link is not None:
            raise ShaperError("the network is open")
        here = {"folder": os.getcwd(), "path": tuple(sys.path)}
        self._last = None
        self._link = host().make(Order(**{**vars(self._order), **here}))

    def close(self) -> None:
        """End the network, and all processes inside: by SIGTERM, then after two seconds by SIGKILL."""
        if self._link is None:
            return
        try:
            waits = self.blockings
            self._end_processes(self._link)
            summary = self._link.ask("stop")
            self._last = summary, self._read(), waits
            if self._journal is not None:
                shutil.copyfile(f"/proc/self/fd/{self._link.journal}", self._journal)
        finally:
            self._link.close()
            self._link = None

    @property
    def link(self) -> Link:
        """What connects with the network's process.

        Raises:
            ShaperError: the network is not open.
        """
        if self._link is None:
            raise ShaperError("the network is not open; use it inside `with`")
        return self._link

    @property
    def entrance(self) -> Entrance:
        """The way for a process that was just forked to get inside.

        Raises:
            ShaperError: the network is not open.
        """
        return Entrance(self.link.namespaces, self.link.pid)

    def _end_processes(self, link: Link) -> None:
        entrance = Entrance(link.namespaces, link.pid)
        for number, patience in ((signal.SIGTERM, PATIENCE), (signal.SIGKILL, PATIENCE)):
            give_up = time.monotonic() + patience
            told: set[int] = set()
            while time.monotonic() < give_up:
                # Those of ours that have ended are zombies until somebody waits for them.
                for _, process in self._started:
                    process.poll()
                if not (inside := set(entrance.processes()) - {os.getpid()}):
                    return
                for pid in inside - told:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, number)
                told |= inside
                time.sleep(POLLING)

    def start(self, command: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        """Start a program inside.

        Args:
            command: the program and its arguments.
            options: those of `subprocess.Popen`, but for `preexec_fn`.

        Raises:
            OSError: there is no such program, or it can't be run.
            ShaperError: the network is not open.
        """
        enter = None if self.is_inside else self.entrance.enter
        process = subprocess.Popen(list(command), preexec_fn=enter, **options)
        self._started.append((command[0], process))
        return process

    def run(
        self,
        command: Sequence[str],
        *,
        input: str | bytes | None = None,
        timeout: float | None = None,
        check: bool = False,
        started: Callable[[subprocess.Popen[Any]], object] = lambda process: None,
        **options: Any,
    ) -> subprocess.CompletedProcess[Any]:
        """Run a program inside to its end, and return its status and output, as text.

        Args:
            command: the program and its arguments.
            input: its standard input.
            timeout: the longest that it may take, in seconds.
            check: raise if it fails.
            started: called with the program's process once it runs.
            options: others of `subprocess.Popen`.

        Raises:
            OSError: there is no such program, or it can't be run.
            subprocess.TimeoutExpired: it took too long, and was killed.
            subprocess.CalledProcessError: it failed, with `check`.
            ShaperError: the network is not open.
        """
        given = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": not isinstance(input, bytes), **options}
        given.setdefault("stdin", subprocess.DEVNULL if input is None else subprocess.PIPE)
        with self.start(command, **given) as process:
            started(process)
            try:
                out, err = process.communicate(input, timeout)
            except BaseException:
                process.kill()
                raise
        if check and process.returncode:
            raise subprocess.CalledProcessError(process.returncode, list(command), out, err)
        return subprocess.CompletedProcess(list(command), process.returncode, out, err)

    def call(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Call a function inside, in a process that is forked for it; returns what it returns, which is pickled.

        Raises:
            Exception: what the function raises.
            ShaperError: its process died, or the network is not open.
        """
        enter = (lambda: None) if self.is_inside else self.entrance.enter
        return call_inside(enter, partial(function, *args, **kwargs))

    def wait_for_port(self, port: int, *, protocol: Protocol = "tcp", timeout: float = 10) -> None:
        """Wait until a server can be reached at this port; no packet is sent for that.

        Args:
            timeout: in seconds.

        Raises:
            ShaperError: it can't after that time, or all programs inside have ended.
        """
        give_up = time.monotonic() + timeout
        while port not in self.link.ask("ports", protocol=protocol):
            if self._started and all(process.poll() is not None for _, process in self._started):
                name, process = self._started[-1]
                raise ShaperError(
                    f"nothing listens at {protocol} port {port}, and {name} has ended with status {process.returncode}"
                )
            if time.monotonic() > give_up:
                raise ShaperError(f"nothing listens at {protocol} port {port} after {timeout:g} s")
            time.sleep(POLLING)

    def change(self, stage: str, **options: Any) -> None:
        """Change options of a policy; packets that are held keep their plans.

        Args:
            stage: its name, as in "delay" or "delay#2".
            options: their new values, as text as in a SPEC, or numbers.

        Raises:
            UsageError: there is no such stage or option, or it can't have the value; nothing has changed.
            ShaperError: the network is not open.
        """
        self.link.ask("alter", what="change", stage=stage, options={name: str(it) for name, it in options.items()})

    def replace(self, *policies: str) -> None:
        """Replace the pipeline; packets that are held keep their plans.

        Raises:
            UsageError: a policy can't be used; nothing has changed.
            ShaperError: the network is not open.
        """
        self.link.ask("alter", what="replace", specs=policies)

    def begin_anew(self, policies: Sequence[str] | None = None) -> None:
        """Begin as if it were new: what is held goes on, and the seed decides the same again as at first.

        Args:
            policies: the pipeline from now on, as SPECs; None for the one that the network was made with. Pipelines
                that follow one another, as in some profiles, go on as they are.

        Raises:
            UsageError: a policy can't be used.
            ShaperError: the network is not open.
        """
        self.release()
        if policies is not None or self._order.scenario is None:
            self.replace(*(self.policies if policies is None else policies))
        self.link.ask("recount")

    def pause(self) -> None:
        """Let packets pass unshaped from now on.

        Raises:
            ShaperError: the network is not open.
        """
        self.link.ask("alter", what="pause")

    def resume(self) -> None:
        """Shape packets again.

        Raises:
            ShaperError: the network is not open.
        """
        self.link.ask("alter", what="resume")

    def release(self) -> None:
        """Send all packets on that are held.

        Raises:
            ShaperError: the network is not open.
        """
        self.link.ask("alter", what="release")

    @property
    def held(self) -> int:
        """How many packets are held now; 0 once it is closed."""
        return 0 if self._last is not None else int(self.link.ask("held"))

    @property
    def packets(self) -> Packets:
        """The packets that went on or were dropped so far.

        Raises:
            ShaperError: the network was never open.
        """
        return self.packets_since(0)

    def packets_since(self, when: int) -> Packets:
        """Those that came since then, with names as if no others had come before.

        Args:
            when: in ns of CLOCK_MONOTONIC.

        Raises:
            ShaperError: the network was never open.
        """
        if self._last is not None:
            return self._last[1].since(when)
        self.link.ask("flush")
        return self._read(when)

    def _read(self, when: int = 0) -> Packets:
        _, records = read_journal(Path(f"/proc/self/fd/{self.link.journal}"))
        return Packets.of_records([record for record in records if record.arrived >= when])

    @property
    def blockings(self) -> list[Wait]:
        """The calls on sockets that have waited inside so far, or still wait, exact to 10 ms; none without `watch`.

        They are found by looking at all threads a hundred times a second, so calls that waited less than 20 ms are not
        among them. `shaper run --trace` shows all calls, and what woke them.

        Raises:
            ShaperError: the network was never open.
        """
        found: list[Wait] = self._last[2] if self._last is not None else self.link.ask("waits")
        return found

    @property
    def summary(self) -> Summary:
        """The counts so far; times and holds once it is closed.

        Raises:
            ShaperError: the network was never open.
        """
        if self._last is not None:
            return self._last[0]
        found: Summary = self.link.ask("summary")
        return found
