"""The sockets at which a shaper is controlled: what they are called, where they are, who may connect.

A Unix socket `NAME.sock` is always there: in /run/shaper if root starts shaper, else in the user's own runtime folder.
Its mode is 0600. With `--listen` there are TCP sockets, too. All of them are opened before shaper gives up privileges.
"""

from __future__ import annotations

import errno
import os
import re
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from fcntl import LOCK_EX, flock
from ipaddress import ip_address
from itertools import count
from pathlib import Path

from shaper.errors import ShaperError, UsageError

SYSTEM = Path("/run/shaper")
"""Where the sockets of root's shapers are."""
SUFFIX = ".sock"
BACKLOG = 128
"""Connections that wait to be accepted."""
SHORTEST_TOKEN = 16
"""Characters; a shorter one could be guessed."""
_name = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")


@dataclass
class Listeners:
    """Open sockets at which a shaper is controlled.

    Attributes:
        name: of this shaper; with `varies`, perhaps another than was asked for.
        unix: the Unix socket.
        path: its file.
        tcp: those of `--listen`.
        token: what a TCP client has to show; None if it has to be `owner` or root instead.
        owner: the user who may connect, besides root: the one who called shaper, also with sudo(8).
    """

    name: str
    unix: socket.socket
    path: Path
    owner: int
    tcp: list[socket.socket] = field(default_factory=list)
    token: str | None = None

    @property
    def addresses(self) -> list[str]:
        """The URLs of the TCP sockets."""
        return [url(one.getsockname()[0], one.getsockname()[1]) for one in self.tcp]

    def close(self) -> None:
        """Close all sockets and remove the file. What this process may no longer remove is refused there later."""
        with suppress(OSError):
            self.path.unlink()
        for one in (self.unix, *self.tcp):
            one.close()


def open_listeners(
    name: str, *, varies: bool = False, listen: str | None = None, token_file: Path | None = None
) -> Listeners:
    """Listen at the Unix socket of this name, and at TCP if asked to.

    Args:
        name: of this shaper.
        varies: if another shaper has this name, take `NAME-2`, `NAME-3` … instead.
        listen: HOST:PORT.
        token_file: has the token that TCP clients have to show; needed if HOST isn't this machine's loopback.

    Raises:
        UsageError: the name is taken or is none; HOST:PORT can't be used; the token is missing or weak.
        ShaperError: the socket can't be made.
    """
    if not _name.fullmatch(name):
        raise UsageError(f"'{name}' can't be a shaper's name; use up to 64 letters, digits, '.', '_' and '-'")
    if token_file is not None and listen is None:
        raise UsageError("--token-file is for TCP; add --listen HOST:PORT")
    token = read_token(token_file) if token_file is not None else None
    tcp = listen_at(listen, is_open=token is not None) if listen is not None else []
    owner = int(os.environ.get("SUDO_UID", 0)) if os.geteuid() == 0 else os.geteuid()
    try:
        folder = _make_folder()
        names = (name if number == 1 else f"{name}-{number}" for number in (count(1) if varies else (1,)))
        for one in names:
            if (unix := _bind(folder / f"{one}{SUFFIX}", owner)) is not None:
                return Listeners(one, unix, folder / f"{one}{SUFFIX}", owner, tcp, token)
    except OSError as error:
        raise ShaperError(f"the control socket can't be made: {error}") from error
    raise UsageError(f"a shaper named '{name}' is running; choose another --name")


def _bind(path: Path, owner: int) -> socket.socket | None:
    """Listen at this path, for this user alone; None if a running shaper does. A dead one's socket is replaced."""
    with locked(path.parent):
        if path.exists() and is_live(path):
            return None
        path.unlink(missing_ok=True)
        unix = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        unix.bind(os.fspath(path))
        # Before listen(2) nobody can connect, whatever the mode is.
        path.chmod(0o600)
        with suppress(PermissionError):  # in a user namespace without that user
            os.chown(path, owner, -1)
        unix.listen(BACKLOG)
        return unix


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """While nobody else binds in this folder."""
    lock = os.open(folder, os.O_RDONLY)
    try:
        flock(lock, LOCK_EX)
        yield
    finally:
        os.close(lock)


def is_live(path: Path) -> bool:
    """Whether a process listens at this Unix socket.

    Raises:
        OSError: this user may not connect to it.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(os.fspath(path))
        except BlockingIOError:
            return True  # so busy that its backlog is full
        except (ConnectionRefusedError, FileNotFoundError):
            return False
    return True


def running() -> list[str]:
    """The names of the shapers that this user may control, in order. Sockets of dead ones are removed."""
    return sorted({path.name.removesuffix(SUFFIX) for path in _live_sockets()})


def find(name: str) -> Path | None:
    """The Unix socket of a running shaper with this name; None if there is none that this user may control."""
    return next((path for path in _live_sockets() if path.name == f"{name}{SUFFIX}"), None)


def _live_sockets() -> Iterator[Path]:
    for folder in filter(is_safe, (own_folder(), SYSTEM)):
        for path in sorted(folder.glob(f"*{SUFFIX}")):
            with suppress(OSError):  # somebody else's
                if is_live(path) or _is_live_after_all(path):
                    yield path


def _is_live_after_all(path: Path) -> bool:
    """Whether a process listens at this socket now; if not, it is removed.

    Raises:
        OSError: this user may not connect to it, or not remove it.
    """
    with locked(path.parent):  # it may have been in the middle of `_bind`
        if is_live(path):
            return True
        path.unlink()
        return False


def own_folder() -> Path:
    """Where the sockets of an ordinary user's shapers are."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    return Path(runtime) / "shaper" if runtime else Path(f"/tmp/shaper-{os.geteuid()}")


def _make_folder() -> Path:
    """The folder for a new socket, made if it isn't there.

    Raises:
        ShaperError: another user could put sockets into it.
        OSError: it can't be made.
    """
    folder, mode = own_folder(), 0o700
    if os.geteuid() == 0 and os.access(SYSTEM.parent, os.W_OK):
        folder, mode = SYSTEM, 0o755
    with suppress(FileExistsError):
        folder.mkdir(mode=mode)
        folder.chmod(mode)  # whatever the umask is
    if not is_safe(folder):
        raise ShaperError(f"others could put sockets into {folder}; remove it, and start again")
    return folder


def is_safe(folder: Path) -> bool:
    """Whether this is a folder into which only this user and root can put sockets."""
    try:
        found = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid in (0, os.geteuid()) and not found.st_mode & 0o022


def read_token(path: Path) -> str:
    """The token in a file.

    Raises:
        UsageError: the file can't be read, everybody can read it, or what it holds is no good token.
    """
    try:
        if path.stat().st_mode & stat.S_IROTH:
            raise UsageError(f"everybody can read {path}; run `chmod o-r {path}`")
        token = path.read_text("ascii").strip()
    except (OSError, ValueError) as error:
        raise UsageError(f"the token can't be read: {error}") from error
    if len(token) < SHORTEST_TOKEN or not token.isprintable() or " " in token:
        raise UsageError(
            f"{path} must hold one word of at least {SHORTEST_TOKEN} characters; make one with `openssl rand -hex 32`"
        )
    return token


def listen_at(address: str, *, is_open: bool) -> list[socket.socket]:
    """TCP sockets that listen at HOST:PORT, one for each address of HOST.

    Args:
        address: "127.0.0.1:8475", "[::1]:8475", "localhost:8475".
        is_open: whether it may be reached from other machines, as there is a token.

    Raises:
        UsageError: it is no such address, others could reach it, or it is taken.
    """
    host, colon, port = address.rpartition(":")
    if not (host and colon and port.isdecimal() and int(port) < 1 << 16):
        raise UsageError(f"--listen needs HOST:PORT, such as 127.0.0.1:8475, not '{address}'")
    opened: list[socket.socket] = []
    try:
        for family, kind, _, _, end in socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM):
            if not is_open and not ip_address(end[0]).is_loopback:
                raise UsageError(f"other machines could reach {address}; add --token-file FILE, or listen on 127.0.0.1")
            one = socket.socket(family, kind)
            opened.append(one)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            one.bind(end)
            one.listen(BACKLOG)
    except (OSError, UnicodeError, UsageError) as error:
        for one in opened:
            one.close()
        if isinstance(error, UsageError):
            raise
        reason = "it is in use" if getattr(error, "errno", None) == errno.EADDRINUSE else error
        raise UsageError(f"shaper can't listen at {address}: {reason}") from error
    return opened


def url(host: str, port: int) -> str:
    """The URL of a TCP socket."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
