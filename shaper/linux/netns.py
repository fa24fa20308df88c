"""Another network namespace: one made by `ip netns`, that of a process (say, of a container), or a file."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from shaper.errors import ShaperError, UsageError
from shaper.linux.capabilities import CAP_SYS_ADMIN, remedy
from shaper.linux.libc import CLONE_NEWNET, setns

NAMED = Path("/run/netns")
"""Where ip-netns(8) keeps them."""


class Namespace:
    """A network namespace that lives on at least until it is closed here.

    Args:
        path: its file.

    Raises:
        UsageError: there is no such namespace.
        ShaperError: this user may not enter it.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise no_namespace(str(path)) from None
        except PermissionError:
            raise _not_permitted(str(path)) from None

    def fileno(self) -> int:
        """Its descriptor."""
        return self._file

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function while this thread, and what it starts meanwhile, is in the namespace.

        Raises:
            UsageError: it is something else.
            ShaperError: this user may not enter it.
        """
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            self.enter()
            try:
                return function(*arguments)
            finally:
                setns(home, CLONE_NEWNET)
        finally:
            os.close(home)

    def enter(self) -> None:
        """Move this thread into it, and what it starts from now on.

        Raises:
            UsageError: it is something else.
            ShaperError: this user may not enter it.
        """
        try:
            setns(self._file, CLONE_NEWNET)
        except PermissionError:
            raise _not_permitted(os.readlink(f"/proc/self/fd/{self._file}")) from None
        except OSError as error:
            name = os.readlink(f"/proc/self/fd/{self._file}")
            raise UsageError(f"'{name}' is not a network namespace: {os.strerror(error.errno or 0)}") from None

    def close(self) -> None:
        """Let it go."""
        os.close(self._file)


def join(name: str) -> None:
    """Move this thread, and those that it starts, into a network namespace.

    Args:
        name: its name in `ip netns`, the number of a process in it, or the path of its file.

    Raises:
        UsageError: there is no such namespace.
        ShaperError: this user may not enter it.
    """
    path = path_of(name)
    try:
        with path.open("rb") as file:
            setns(file.fileno(), CLONE_NEWNET)
    except FileNotFoundError:
        raise no_namespace(name) from None
    except PermissionError:
        raise _not_permitted(name) from None
    except OSError as error:
        raise UsageError(f"'{name}' is not a network namespace: {os.strerror(error.errno or 0)}") from None


def no_namespace(name: str) -> UsageError:
    """The error that there is no namespace of this name."""
    return UsageError(
        f"there is no network namespace '{name}': give a name that `ip netns` lists, "
        "the number of a process, or a path such as /proc/1234/ns/net"
    )


def _not_permitted(name: str) -> ShaperError:
    return ShaperError(f"no permission to enter the network namespace '{name}'; {remedy(CAP_SYS_ADMIN)}")


def is_namespace(found: os.stat_result) -> bool:
    """Whether this is a namespace's file, and not one on which `ip netns` is about to mount one."""
    return found.st_dev == os.stat("/proc/self/ns/net").st_dev


def path_of(name: str) -> Path:
    """The file of a network namespace: by its name in `ip netns`, the number of a process in it, or a path."""
    if "/" in name:
        return Path(name)
    pid = process_of(name)
    return NAMED / name if pid is None else Path(f"/proc/{pid}/ns/net")


def process_of(name: str) -> int | None:
    """The process that this is the number of; None if it is a name in `ip netns`, or a path."""
    return int(name) if name.isdecimal() and not (NAMED / name).exists() else None
