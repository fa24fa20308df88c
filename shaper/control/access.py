"""Who may do what. At the Unix socket the kernel has checked who connects; over TCP it is asked here."""

from __future__ import annotations

import hmac
import os
from collections.abc import Collection, Mapping, Sequence
from http import HTTPStatus
from ipaddress import ip_address

from starlette.datastructures import Headers

from shaper.control.http import PEER, Application, Message, Receive, Send
from shaper.control.problem import problem
from shaper.errors import UsageError
from shaper.linux.sock_diag import SocketDiag
from shaper.spec.load import builtin_names, expand, find, split_options, split_spec, suggest

PUBLIC = "/"
"""The page, which holds nothing of anybody; what it shows it asks for with the token."""


class Guard:
    """An application for TCP: answers what `app` would, if the request may be made.

    Browsers let any website send requests to this machine. They name that site as their origin, or, if the site's name
    was made to mean this machine (DNS rebinding), as their host.

    Args:
        app: for the requests that are allowed.
        token: what the requests have to show; None if who connects has been checked already.
    """

    def __init__(self, app: Application, token: str | None) -> None:
        self._app, self._token = app, token

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request."""
        headers = Headers(raw=scope["headers"])
        host, origin = headers.get("host", ""), headers.get("origin")
        if origin is not None and origin != f"http://{host}":
            answer = problem(HTTPStatus.FORBIDDEN, f"requests of the website {origin} are refused")
        elif self._token is None and not is_loopback(host):
            answer = problem(HTTPStatus.FORBIDDEN, f"'{host}' is no name of this machine; use localhost or 127.0.0.1")
        elif self._token is not None and scope["path"] != PUBLIC and not self._shows_token(headers):
            detail = "show the token of --token-file: `Authorization: Bearer TOKEN`"
            answer = problem(HTTPStatus.UNAUTHORIZED, detail, {"WWW-Authenticate": "Bearer"})
        else:
            await self._app(scope, receive, send)
            return
        await answer(scope, receive, send)

    def _shows_token(self, headers: Headers) -> bool:
        kind, _, token = headers.get("authorization", "").partition(" ")
        return (
            self._token is not None
            and kind.lower() == "bearer"
            and hmac.compare_digest(token.strip().encode(), self._token.encode())
        )


def is_loopback(host: str) -> bool:
    """Whether a Host header names this machine as only this machine can be reached."""
    name = host.rpartition("]")[0].removeprefix("[") if host.startswith("[") else host.partition(":")[0]
    if name == "localhost":
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False


def is_allowed(diag: SocketDiag, peer: tuple[str, int], here: tuple[str, int], users: Collection[int]) -> bool:
    """Whether the process at the other end of a loopback connection is one of these users'.

    A socket whose process has closed it is nobody's; the kernel would call it root's.

    Args:
        diag: asks the kernel.
        peer: the other end.
        here: this end.
        users: user ids.
    """
    found = diag.tcp(peer, here)
    return found is not None and found.inode != 0 and found.uid in users


def restriction(scope: Message) -> str:
    """Why this request may load no files, as the start of a message; "" if it may.

    A policy's file is code, and runs with shaper's power; so that power is asked for. Who called sudo(8) may control
    the shaper, but other programs of that user must not get power over the network without a password.
    """
    peer = scope["extensions"].get(PEER)
    if peer is None:
        return "over TCP"
    return "" if peer["uid"] == os.geteuid() else "without sudo"


def check_specs(specs: Sequence[str], known: Sequence[str], why: str) -> None:
    """Check that a pipeline may be loaded by a request that may load no files.

    Args:
        specs: the pipeline.
        known: SPECs that shaper was started with; they may be loaded.
        why: see `restriction`.

    Raises:
        UsageError: it may not be.
    """
    heads = {split_spec(spec)[0] for spec in known}
    for spec in expand(specs):
        head, options = split_spec(spec)
        if spec in known:
            continue
        if head not in builtin_names() and head not in heads:
            raise UsageError(
                f"{why} only built-in policies can be loaded, and those named at the start, not "
                f"{head}{suggest(head, builtin_names())}"
            )
        check_options(dict(split_options(options, find(head).shorthand, head)), why)


def check_options(options: Mapping[str, str], why: str) -> None:
    """Check that options may be set by a request that may load no files; `why`: see `restriction`.

    Raises:
        UsageError: one names a file.
    """
    for name, value in options.items():
        if "/" in value or os.path.isfile(value):
            raise UsageError(f"{why} no option can name a file: {name}={value}")
