"""The host's process, and those that it forks: one for each network."""

from __future__ import annotations

import gc
import os
import pickle
import signal
import socket
import sys
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NoReturn

import trio

from shaper.capture.write import INTERFACES
from shaper.errors import ShaperError
from shaper.linux import namespace
from shaper.live.front.requests import Requests
from shaper.live.run import Run
from shaper.live.settings import Capture
from shaper.network.host import MADE, MOST
from shaper.network.listening import ports
from shaper.network.observer import Observer
from shaper.network.order import Order, Request, plain
from shaper.network.shaped import shape_while
from shaper.network.waits import Wait
from shaper.spec.load import load_pipeline


def main(orders: int) -> None:
    """Fork a process for each order that comes over this socket, until it is closed."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # they are reaped by themselves
    gc.freeze()
    with socket.socket(fileno=orders) as incoming:
        while True:
            data, descriptors, *_ = socket.recv_fds(incoming, MOST, 2)
            if not data:
                return
            if os.fork() == 0:
                incoming.close()
                _be_network(pickle.loads(data), *descriptors)
            for descriptor in descriptors:
                os.close(descriptor)


def _be_network(order: Order, end: int, journal: int) -> NoReturn:
    """The process of a network, from its fork to its exit."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    is_made = False
    with socket.socket(fileno=end) as user:
        try:
            sys.path[:] = order.path
            os.chdir(order.folder)
            observer = Observer(end, journal) if order.watch else None
            policies = load_pipeline(order.policies)
            private = namespace.enter(order.mtu)
            if observer is not None:
                observer.begin()
            kinds = ("user", "net") if private.mapped else ("net",)
            opened = [os.open(f"/proc/self/ns/{kind}", os.O_RDONLY) for kind in kinds]
            socket.send_fds(user, [MADE.pack(os.getpid())], opened)
            is_made = True
            connection = Connection(user.detach())
            result: object = shape_while(
                lambda run: _answer(run, connection, observer),
                policies=policies,
                specs=order.policies,
                seed=order.seed,
                journal=Path(f"/proc/self/fd/{journal}"),
                scenario=order.scenario,
                captures=(Capture(Path(order.pcap), INTERFACES),) if order.pcap else (),
            )
        except Exception as error:
            result = plain(error)
            if not is_made:
                user.sendall(MADE.pack(os.getpid()))
                connection = Connection(user.detach())
        try:
            connection.send(result)
        except OSError:
            pass
        finally:
            os._exit(0)


async def _answer(run: Run, connection: Connection, observer: Observer | None) -> None:
    """Answer what is asked, until the end is asked for, or whoever asks has died."""
    requests = Requests(run)
    connection.send(None)  # packets are shaped
    while True:
        await trio.lowlevel.wait_readable(connection.fileno())
        try:
            request: Request = connection.recv()
        except (EOFError, OSError):
            return
        if request.what == "stop":
            return
        try:
            answer: object = await _answer_to(request, run, requests, observer)
        except (ShaperError, OSError) as error:
            answer = plain(error)
        try:
            connection.send(answer)
        except OSError:
            return


async def _answer_to(request: Request, run: Run, requests: Requests, observer: Observer | None) -> Any:
    match request.what:
        case "flush":
            run.engine.work()
            run.engine.flush()
            return None
        case "summary":
            return run.summary(is_over=False)
        case "ports":
            return ports(request.arguments["protocol"])
        case "waits":
            return [] if observer is None else await _waits(observer)
        case "held":
            return run.core.counts.held
        case "recount":
            return run.core.recount()
        case "alter":
            await requests.answer("prepare", {"number": 0, "change": request.arguments})
            return await requests.answer("commit", {"number": 0})
    raise ShaperError(f"a network does not know what '{request.what}' is")


async def _waits(observer: Observer) -> list[Wait]:
    try:
        observer.ask()
        await trio.lowlevel.wait_readable(observer.connection.fileno())
        return observer.answer()
    except (EOFError, OSError):
        return []  # somebody has killed it
