"""Where the system's programs are, and whether they can be run."""

import os
import shutil
from collections.abc import Iterable
from stat import S_ISDIR

from shaper.errors import UsageError

CANNOT_RUN, NOT_FOUND = 126, 127
"""The exit statuses, as in a shell, of a command that can't be run, and of one that there isn't: see sh(1posix)."""


class ProgramError(UsageError):
    """The program of a command that was given can't be run."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


def find(name: str) -> str | None:
    """The path of a program, or None. Also looks in /sbin, which an ordinary user's PATH may lack."""
    return shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")


def check(name: str) -> None:
    """Check that this program of a user's command can be run.

    Raises:
        ProgramError: it can't, or there is none; the error has a shell's status for it.
    """
    if shutil.which(name) is not None:
        return
    is_path = os.sep in name
    paths = [name] if is_path else [os.path.join(folder, name) for folder in os.get_exec_path()]
    if (why := _why_not(paths, is_path)) is not None:
        raise ProgramError(f"'{name}' can't be run ({why})", CANNOT_RUN)
    raise ProgramError(f"there is no program '{name}' to run", NOT_FOUND)


def _why_not(paths: Iterable[str], is_path: bool) -> str | None:
    """Why the first of these that there is can't be run; None if there is none. A directory in PATH doesn't count."""
    for path in paths:
        try:
            is_directory = S_ISDIR(os.stat(path).st_mode)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            if is_path:
                return str(error.strerror)
            continue
        if is_path or not is_directory:
            return "Is a directory" if is_directory else "Permission denied"
    return None
